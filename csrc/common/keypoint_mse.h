// Weighted mean squared error of heatmaps, its gradient in the same pass; the target given or made from keypoints.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/gaussian.h"

namespace hgfast {

// loss = sum of weight[n, k] * (pred - target)^2 / count, grad = 2 * weight * (pred - target) / count, count = n k h w.
struct KeypointMse {
  const void* pred;        // (n, k, h, w), dense in `layout`
  const void* target;      // as pred, but float32 (float64 for float64); null: made from keypoints and visible
  const void* weight;      // (n, k), target's dtype; null: all 1. A made target brings its own weights
  const float* keypoints;  // (n, k, 2), heatmap pixels; null if the target is given
  const float* visible;    // (n, k)
  void* grad;              // as pred; null: not wanted
  double* partial;         // workspace, partial_count()
  float* axes;             // workspace for a made target on the CPU, axes_count(); else null
  void* loss;              // one float32 (float64 for float64)
  DType dtype;
  Layout layout;
  GaussianKind kind;
  double sigma;
  int64_t n, k, h, w;

  // One partial sum for each map (NCHW) or image row (NHWC), added up in order: the loss does not depend on threads.
  HGFAST_HOST_DEVICE int64_t partial_count() const { return layout == Layout::kNCHW ? n * k : n * h; }
  // The Gaussian's factors along x and y, and the weight, of each joint.
  int64_t axes_count() const { return n * k * (w + h + 1); }
  HGFAST_HOST_DEVICE double scale() const { return 1.0 / static_cast<double>(n * k * h * w); }
};

}  // namespace hgfast
