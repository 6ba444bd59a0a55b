// Decoding: for each heatmap the location of its maximum, refined below a pixel, and the maximum as score.
#pragma once

#include "common/heatmaps.h"

namespace hgfast {

// The codes of hgfast/ops/decode_heatmaps.py: METHODS.
enum class DecodeMethod : int { kArgmax = 0, kQuarter = 1, kDark = 2, kDarkUdp = 3, kNewell = 4 };

constexpr int kMaxBlurRadius = 31;

// A symmetric blur kernel of 2 * radius + 1 taps; weight[d] is that at distance d.
struct BlurKernel {
  int radius;
  float weight[kMaxBlurRadius + 1];
};

// keypoints (n, k, 2) x, y and scores (n, k): float32, for float64 maps float64. affine (n or 1, 2, 3), float32 or
// float64, is applied to every keypoint (x, y, 1) at last.
struct DecodeHeatmaps {
  HeatmapShape shape;
  const void* heatmaps;
  FlippedMaps flipped;
  const void* affine;  // null: keypoints in heatmap pixels
  DType affine_dtype;
  int64_t affine_stride;  // elements between two images' matrices: 6, or 0 where all share one
  void* keypoints;
  void* scores;
  DecodeMethod method;
  BlurKernel blur;

  // princeton-vl's inference caps the averaged map.
  bool clamps_at_one() const { return flipped.maps != nullptr && method == DecodeMethod::kNewell; }
};

}  // namespace hgfast
