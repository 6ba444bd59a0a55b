// Target heatmaps from keypoints.
//
// Tiling: one block of 256 threads a map; every thread works out the (cheap) patch of its map, then writes packs of
// kWidth pixels of a row (16 bytes where the width allows). Bytes: one write of the maps. FLOPs: one expf a pixel
// inside the patch, none outside. Bound by the write. Limits: any size, no float64 output.
#pragma once

#include "cuda/pack.cuh"

namespace hgfast::cuda {

HG_DEV float gaussian_at(const GaussianPatch& patch, int x, int y, float exponent) {
  if (x < patch.left || x >= patch.right || y < patch.top || y >= patch.bottom) return 0.0f;
  const float dx = static_cast<float>(x - patch.cx), dy = static_cast<float>(y - patch.cy);
  return expf((dx * dx + dy * dy) * exponent);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) gaussian_heatmaps_kernel(GaussianHeatmaps p) {
  using P = Pack<T, kWidth>;
  const int64_t map = blockIdx.x;
  const int w = static_cast<int>(p.w), h = static_cast<int>(p.h), packs = w / kWidth;
  const GaussianPatch patch =
      gaussian_patch(p.kind, p.keypoints[2 * map], p.keypoints[2 * map + 1], p.visible[map], p.sigma, w, h);
  const float exponent = static_cast<float>(-1.0 / (2.0 * p.sigma * p.sigma));
  if (threadIdx.x == 0) p.weights[map] = patch.weight;
  P* out = reinterpret_cast<P*>(static_cast<T*>(p.heatmaps) + map * p.h * p.w);
  for (int i = threadIdx.x; i < packs * h; i += kThreads) {
    const int y = i / packs, x = i % packs * kWidth;
    P pack;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) pack.v[j] = from_float<T>(gaussian_at(patch, x + j, y, exponent));
    out[i] = pack;
  }
}

template <class T>
void launch_gaussian_heatmaps(const GaussianHeatmaps& p, Exec stream) {
  const dim3 grid(static_cast<unsigned>(p.n * p.k));
  if (can_pack<T>(p.w, p.heatmaps))
    launch(gaussian_heatmaps_kernel<T, kPackWidth<T>>, grid, dim3(kThreads), 0, stream, p);
  else
    launch(gaussian_heatmaps_kernel<T, 1>, grid, dim3(kThreads), 0, stream, p);
}

}  // namespace hgfast::cuda
