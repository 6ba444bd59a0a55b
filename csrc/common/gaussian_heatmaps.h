// Target heatmaps from keypoints.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/gaussian.h"

namespace hgfast {

// keypoints (n, k, 2) and visible (n, k) float32, heatmap pixels -> heatmaps (n, k, h, w) of `dtype`, weights (n, k).
struct GaussianHeatmaps {
  const float* keypoints;
  const float* visible;
  void* heatmaps;
  float* weights;
  DType dtype;
  GaussianKind kind;
  double sigma;
  int64_t n, k, h, w;
};

}  // namespace hgfast
