// Sums over a block, in a fixed order: the result is the same in every run.
#pragma once

#include "cuda/compat.cuh"

namespace hgfast::cuda {

constexpr unsigned kFullWarp = 0xffffffffu;

// Sum of `value` over all kBlock threads; valid in thread 0. Every thread of the block must call it.
template <class T, int kBlock>
HG_DEV T block_sum(T value) {
  static_assert(kBlock % 32 == 0 && kBlock <= 1024);
  HG_SHARED(T, warp_sums, kBlock / 32);
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(kFullWarp, value, offset);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = value;
  __syncthreads();
  T sum = 0;
  if (threadIdx.x == 0)
    for (int warp = 0; warp < kBlock / 32; ++warp) sum += warp_sums[warp];
  __syncthreads();
  return sum;
}

}  // namespace hgfast::cuda
