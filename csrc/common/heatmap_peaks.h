// Several peaks of each heatmap: the largest local maxima in order.
#pragma once

#include "common/decode_heatmaps.h"

namespace hgfast {

// A peak is a value above threshold that no value of its 3x3 neighbourhood exceeds. keypoints (n, k, count, 2) x, y and
// scores (n, k, count), largest first, equal ones in row-major order; (-1, -1) and 0 where there are fewer. float32, or
// float64 for float64 maps. method: kArgmax, kQuarter or kNewell.
struct HeatmapPeaks {
  HeatmapShape shape;
  const void* heatmaps;
  void* keypoints;
  void* scores;
  int64_t count;
  double threshold;
  DecodeMethod method;
};

}  // namespace hgfast
