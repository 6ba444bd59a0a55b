// A warp's product of two swizzled operand tiles (cuda/swizzle.cuh) on mma.sync, float32 accumulators in registers.
//
// T is __half, __nv_bfloat16 (m16n8k16) or float (tf32, m16n8k8): 32 bytes of K a step in each case, and ldmatrix hands
// out 32-bit words just as the fragments of both want them. Accumulators: element e of block (i, j) is row
// 16 i + lane / 4 + 8 (e / 2), column 8 j + 2 (lane % 4) + e % 2.
#pragma once

#include "cuda/ptx.cuh"
#include "cuda/swizzle.cuh"

namespace hgfast::cuda {

template <class T>
HG_DEV void mma_step(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, float>)
    ptx::mma_m16n8k8_tf32(d, a, b);
  else
    ptx::mma_m16n8k16<T>(d, a, b);
}

// Fragment of A: 16 rows from `row`, 32 bytes of K. float32 is rounded to tf32 here.
template <class T>
HG_DEV void load_fragment_a(uint32_t (&a)[4], uint32_t tile, int row, int step, int lane) {
  ptx::ldmatrix_x4(a, tile + swizzled(row + (lane & 15), 2 * step + (lane >> 4)));
  if constexpr (std::is_same_v<T, float>) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = ptx::to_tf32(__uint_as_float(a[i]));
  }
}

// Fragments of B: two blocks of 8 columns (rows of the tile) from `row`, 32 bytes of K. conv_pack rounds to tf32.
HG_DEV void load_fragments_b(uint32_t (&b)[2][2], uint32_t tile, int row, int step, int lane) {
  uint32_t r[4];
  ptx::ldmatrix_x4(r, tile + swizzled(row + (lane & 7) + ((lane >> 4) << 3), 2 * step + ((lane >> 3) & 1)));
  b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

// acc += A B^T for rows [row_a, row_a + 16 kI) of tile_a and rows [row_b, row_b + 8 kJ) of tile_b, over 128 bytes of K.
template <class T, int kI, int kJ>
HG_DEV void multiply_tiles(float (&acc)[kI][kJ][4], uint32_t tile_a, int row_a, uint32_t tile_b, int row_b, int lane) {
  static_assert(kJ % 2 == 0, "ldmatrix_x4 brings two blocks of 8 columns");
#pragma unroll
  for (int step = 0; step < kRowBytes / 32; ++step) {
    uint32_t a[kI][4], b[kJ / 2][2][2];
#pragma unroll
    for (int i = 0; i < kI; ++i) load_fragment_a<T>(a[i], tile_a, row_a + 16 * i, step, lane);
#pragma unroll
    for (int j = 0; j < kJ / 2; ++j) load_fragments_b(b[j], tile_b, row_b + 16 * j, step, lane);
#pragma unroll
    for (int i = 0; i < kI; ++i)
#pragma unroll
      for (int j = 0; j < kJ; ++j) mma_step<T>(acc[i][j], a[i], b[j / 2][j % 2]);
  }
}

}  // namespace hgfast::cuda
