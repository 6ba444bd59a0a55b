// A warp's product of two swizzled operand tiles (cuda/swizzle.cuh) on mma.sync, float32 accumulators in registers.
//
// T is __half, __nv_bfloat16 (m16n8k16) or float (tf32, m16n8k8): 32 bytes of K a step in each case, and ldmatrix hands
// out 32-bit words just as the fragments of both want them. Accumulators: element e of block (i, j) is row
// 16 i + lane / 4 + 8 (e / 2), column 8 j + 2 (lane % 4) + e % 2.
//
// kExact (float only): each operand is the sum of two tf32 numbers, and a product three of theirs (the fourth is below
// float32's rounding), so that results are as good as float32 arithmetic: about 21 bits of each product.
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

// Rounds float32 words to tf32.
template <int kWords>
HG_DEV void round_words(uint32_t (&words)[kWords]) {
#pragma unroll
  for (int i = 0; i < kWords; ++i) words[i] = ptx::to_tf32(__uint_as_float(words[i]));
}

// Rounds float32 words to tf32 and gives what that left out, as tf32.
template <int kWords>
HG_DEV void split_words(uint32_t (&words)[kWords], uint32_t (&rest)[kWords]) {
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const float value = __uint_as_float(words[i]);
    words[i] = ptx::to_tf32(value);
    rest[i] = ptx::to_tf32(value - __uint_as_float(words[i]));
  }
}

// Fragments of B: two blocks of 8 columns (rows of the tile) from `row`, 32 bytes of K.
HG_DEV void load_fragments_b(uint32_t (&b)[2][2], uint32_t tile, int row, int step, int lane) {
  uint32_t r[4];
  ptx::ldmatrix_x4(r, tile + swizzled(row + (lane & 7) + ((lane >> 4) << 3), 2 * step + ((lane >> 3) & 1)));
  b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

// acc += a b for all blocks; without kExact b of float is rounded already (by conv_pack).
template <class T, bool kExact, int kI, int kJ>
HG_DEV void multiply_fragments(float (&acc)[kI][kJ][4], uint32_t (&a)[kI][4], uint32_t (&b)[kJ][2]) {
  auto multiply = [&](const uint32_t (&left)[kI][4], const uint32_t (&right)[kJ][2]) {
#pragma unroll
    for (int i = 0; i < kI; ++i)
#pragma unroll
      for (int j = 0; j < kJ; ++j) mma_step<T>(acc[i][j], left[i], right[j]);
  };
  if constexpr (kExact) {
    uint32_t rest_a[kI][4], rest_b[kJ][2];
#pragma unroll
    for (int i = 0; i < kI; ++i) split_words(a[i], rest_a[i]);
#pragma unroll
    for (int j = 0; j < kJ; ++j) split_words(b[j], rest_b[j]);
    multiply(rest_a, b);
    multiply(a, rest_b);
  } else if constexpr (std::is_same_v<T, float>) {
#pragma unroll
    for (int i = 0; i < kI; ++i) round_words(a[i]);
  }
  multiply(a, b);
}

// acc += A B^T over 128 bytes of K: A's block i is 16 rows of tile_a, row_of(i) that which this lane gives to ldmatrix
// (the block's row lane % 16); B is rows [row_b, row_b + 8 kJ) of tile_b.
template <class T, bool kExact = false, int kI, int kJ, class RowOf>
HG_DEV void multiply_rows(float (&acc)[kI][kJ][4], uint32_t tile_a, const RowOf& row_of, uint32_t tile_b, int row_b,
                          int lane) {
  static_assert(kJ % 2 == 0, "ldmatrix_x4 brings two blocks of 8 columns");
#pragma unroll
  for (int step = 0; step < kRowBytes / 32; ++step) {
    uint32_t a[kI][4], b[kJ][2];
#pragma unroll
    for (int i = 0; i < kI; ++i) ptx::ldmatrix_x4(a[i], tile_a + swizzled(row_of(i), 2 * step + (lane >> 4)));
#pragma unroll
    for (int j = 0; j < kJ; j += 2)
      load_fragments_b(reinterpret_cast<uint32_t (&)[2][2]>(b[j]), tile_b, row_b + 8 * j, step, lane);
    multiply_fragments<T, kExact>(acc, a, b);
  }
}

// The same for rows [row_a, row_a + 16 kI) of tile_a.
template <class T, bool kExact = false, int kI, int kJ>
HG_DEV void multiply_tiles(float (&acc)[kI][kJ][4], uint32_t tile_a, int row_a, uint32_t tile_b, int row_b, int lane) {
  const int row = row_a + (lane & 15);
  multiply_rows<T, kExact>(acc, tile_a, [&](int i) { return row + 16 * i; }, tile_b, row_b, lane);
}

}  // namespace hgfast::cuda
