// The whole-bottleneck kernel (cuda/bottleneck_kernel.cuh) on wgmma (sm_90a), with A in registers.
//
// ldmatrix brings A's fragments, which may be any rows of shared memory: the rows under a filter tap, which a
// descriptor of A could not name since lines of the halo tile are no multiple of 8 pixels. B, the weights, is read from
// shared memory once for the four warps of a warpgroup, and not by each warp. The fragments of the next 32 bytes of K
// are loaded while the products of these run.
#pragma once

#include "cuda/bottleneck_kernel.cuh"

namespace hgfast::cuda {

struct WgmmaProducts {
  // acc += A B^T over 128 bytes of K: block i is 64 rows, 16 of each warp: row_of(i) is that which this lane gives to
  // ldmatrix. B is all rows of tile_b.
  template <class T, int kI, int kJ, class RowOf>
  static HG_DEV void multiply(float (&acc)[kI][kJ][4], uint32_t tile_a, const RowOf& row_of, uint32_t tile_b, int,
                              int lane) {
    constexpr int kSteps = kRowBytes / 32, kN = 8 * kJ;
    auto& sums = reinterpret_cast<float (&)[kI * kJ * 4]>(acc);
    uint32_t a[2][kI][4];
    auto load = [&](int step) {
#pragma unroll
      for (int i = 0; i < kI; ++i)
        ptx::ldmatrix_x4(a[step % 2][i], tile_a + swizzled(row_of(i), 2 * step + (lane >> 4)));
    };
    load(0);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint64_t b = ptx::make_smem_descriptor(tile_b + 32 * step, 16, kSwizzleAlignment, ptx::Swizzle::k128);
      ptx::wgmma_fence();
#pragma unroll
      for (int i = 0; i < kI; ++i)
        ptx::wgmma<T, kN>(reinterpret_cast<float (&)[kN / 2]>(acc[i]), a[step % 2][i], b, true);
      ptx::wgmma_commit();
      if (step + 1 == kSteps) break;
      if (step > 0) ptx::wgmma_wait<1>(sums);  // the products that read the fragments which the next ones replace
      load(step + 1);
    }
    ptx::wgmma_wait<0>(sums);
  }
};

}  // namespace hgfast::cuda
