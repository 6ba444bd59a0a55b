// The Gaussian blur of DARK and UDP: 5x5 values around a maximum by one warp, or, where the clip range may matter, the
// maximum of the whole blurred map by the block. Order of the sums as on the CPU: columns first, pairs together.
#pragma once

#include "common/decode_heatmaps.h"
#include "cuda/decode_peak.cuh"

namespace hgfast::cuda {

// Shared floats that one warp needs.
inline int blur_scratch(const BlurKernel& kernel, int w) {
  const int window = 5 * (5 + 2 * kernel.radius), row = w + 2 * kernel.radius;
  return window > row ? window : row;
}

// Column (x, y) of map c blurred along y; zeros outside the map.
template <class T, int kChannels>
HG_DEV float blur_column(const MapReader<T, kChannels>& maps, int c, int x, int y, const BlurKernel& kernel) {
  if (x < 0 || x >= maps.w) return 0.0f;
  const auto at = [&](int row) { return row < 0 || row >= maps.h ? 0.0f : maps.at(c, x, row); };
  float sum = at(y) * kernel.weight[0];
  for (int d = 1; d <= kernel.radius; ++d) sum += (at(y - d) + at(y + d)) * kernel.weight[d];
  return sum;
}

HG_DEV float blur_row(const float* center, const BlurKernel& kernel) {
  float sum = center[0] * kernel.weight[0];
  for (int d = 1; d <= kernel.radius; ++d) sum += (center[-d] + center[d]) * kernel.weight[d];
  return sum;
}

// out[5 * j + i] = blurred map c at (x + i - 2, y + j - 2). Called by a whole warp; `scratch` is its own.
template <class T, int kChannels>
HG_DEV void blur_window(const MapReader<T, kChannels>& maps, int c, int x, int y, const BlurKernel& kernel,
                        float* scratch, float* out) {
  const int lane = threadIdx.x % 32, columns = 5 + 2 * kernel.radius;
  for (int i = lane; i < 5 * columns; i += 32)
    scratch[i] = blur_column(maps, c, x - 2 - kernel.radius + i % columns, y - 2 + i / columns, kernel);
  __syncwarp();
  if (lane < 25) out[lane] = blur_row(scratch + lane / 5 * columns + kernel.radius + lane % 5, kernel);
  __syncwarp();
}

// Largest value of blurred map c. Called by the whole block; its first `warps` warps take the rows in turn.
template <int kBlock, class T, int kChannels>
HG_DEV float blurred_maximum(const MapReader<T, kChannels>& maps, int c, const BlurKernel& kernel, int warps,
                             float* scratch, Peak* warp_peaks) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, r = kernel.radius;
  Peak best = no_peak();
  for (int y = warp < warps ? warp : maps.h; y < maps.h; y += warps) {
    for (int i = lane; i < maps.w + 2 * r; i += 32) scratch[i] = blur_column(maps, c, i - r, y, kernel);
    __syncwarp();
    for (int x = lane; x < maps.w; x += 32) best.offer(blur_row(scratch + r + x, kernel), 0);
    __syncwarp();
  }
  return block_peak<kBlock>(best, warp_peaks).value;
}

}  // namespace hgfast::cuda
