// Where a keypoint's Gaussian lies in its heatmap and how it is weighted: the encode rules of the four codecs, shared
// by CPU and CUDA kernels. Every kind is a Gaussian about (cx, cy) cut to a rectangle, zero outside it, hence
// separable.
#pragma once

#include <cmath>

#include "common/host_device.h"

namespace hgfast {

enum class GaussianKind : int { kMsra = 0, kUnbiased = 1, kUdp = 2, kNewell = 3 };  // hgfast/ops/gaussian_heatmaps.py

struct GaussianPatch {
  double cx, cy;                 // centre, heatmap pixels
  int left, right, top, bottom;  // columns [left, right), rows [top, bottom) of the map; empty if not drawn
  float weight;                  // of the joint in the loss
};

// One axis: centre and [low, high) for a coordinate in a map of `size` pixels; false if the patch misses the map.
// The pixel is found in float32, as the peers find it; integers come in only once the bounds are known, so that NaN,
// infinite and huge coordinates miss the map too.
static inline HGFAST_HOST_DEVICE bool gaussian_axis(GaussianKind kind, float at, double sigma, int size, double* centre,
                                                    int* low, int* high) {
  const double radius = 3 * sigma, limit = size;
  double from = at - radius, to = at + radius + 1;  // kUnbiased: bounds of the real-valued position, nothing cut
  *centre = at;
  if (kind == GaussianKind::kNewell) {
    const double pixel = truncf(at);
    if (!(pixel >= 0 && pixel < limit)) return false;
    from = trunc(pixel - radius - 1), to = trunc(pixel + radius + 2);
    *centre = from + radius + 1;
  } else if (kind != GaussianKind::kUnbiased) {
    const double pixel = truncf(at + 0.5f);
    from = trunc(pixel - radius), to = trunc(pixel + radius + 1);
    *centre = from + floor(radius + 0.5) + (kind == GaussianKind::kUdp ? at - pixel : 0.0);
  }
  if (!(from < limit) || !(to >= 0)) return false;
  const bool cut = kind != GaussianKind::kUnbiased;
  *low = cut && from > 0 ? static_cast<int>(from) : 0;
  *high = cut && to < limit ? static_cast<int>(to) : size;
  return true;
}

// (x, y) in heatmap pixels. A joint with visible < 0.5 is not drawn and keeps `visible` as its weight; one whose patch
// misses the map gets weight 0. kNewell draws only x > 0, the peer's sign of a labelled joint.
static inline HGFAST_HOST_DEVICE GaussianPatch gaussian_patch(GaussianKind kind, float x, float y, float visible,
                                                              double sigma, int w, int h) {
  GaussianPatch patch{0, 0, 0, 0, 0, 0, visible};
  if (visible < 0.5f) return patch;
  GaussianPatch drawn = patch;
  const bool inside = (kind != GaussianKind::kNewell || x > 0) &&
                      gaussian_axis(kind, x, sigma, w, &drawn.cx, &drawn.left, &drawn.right) &&
                      gaussian_axis(kind, y, sigma, h, &drawn.cy, &drawn.top, &drawn.bottom);
  patch.weight = 0;
  return inside ? drawn : patch;
}

}  // namespace hgfast
