// Differentiable decoding: the mean position under softmax(map / temperature), and its gradient.
#pragma once

#include "common/heatmaps.h"
#include "common/host_device.h"

namespace hgfast {

// keypoints (n, k, 2) x, y; scores (n, k) maxima; totals (n, k): sum of exp((value - maximum) / temperature). float32,
// or float64 for float64 maps. window >= 0 keeps to pixels at most that far, in x and in y, from the first maximum.
struct SoftArgmax {
  HeatmapShape shape;
  const void* heatmaps;
  void* keypoints;
  void* scores;
  void* totals;
  double temperature;
  int64_t window;
};

// grad (n, k, h, w), NCHW like heatmaps and of their type, from the forward's results and their gradients.
struct SoftArgmaxBackward {
  HeatmapShape shape;
  const void* heatmaps;
  const void* keypoints;
  const void* scores;
  const void* totals;
  const void* grad_keypoints;
  const void* grad_scores;
  void* grad;
  double temperature;
  int64_t window;
};

// Rows and columns [x0, x1) x [y0, y1) that take part, for a maximum at (x, y).
struct SoftWindow {
  int x0, x1, y0, y1;
};

static inline HGFAST_HOST_DEVICE SoftWindow soft_window(int64_t window, int x, int y, int w, int h) {
  if (window < 0) return {0, w, 0, h};
  const auto low = [&](int at) { return at > window ? static_cast<int>(at - window) : 0; };
  const auto high = [&](int at, int size) { return size - at - 1 > window ? static_cast<int>(at + window + 1) : size; };
  return {low(x), high(x, w), low(y), high(y, h)};
}

}  // namespace hgfast
