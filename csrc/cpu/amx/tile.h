// AMX's eight tile registers: 16 rows of 64 bytes each.
//
// All are used at their full size, so that one configuration serves every kernel: sums are 16 x 16 numbers of 4 bytes;
// the left operand is 16 rows (pixels) of 32 bfloat16 or 64 int8 (input channels); the right one holds them for 16
// output channels, two (or four) input channels of an output channel side by side: row r, number 2 * k + i (or 4 * k +
// i) is the weight of input channel 2 * r + i (4 * r + i) and output channel k. A multiplication takes 16 cycles for
// 8,192 products of bfloat16 or 16,384 of int8, a load 8 if L1 has it: with 2 x 2 tiles of sums each operand is used
// twice, and the loads of the next step hide behind the four multiplications of this one.
//
// tdpbf16ps takes subnormal numbers for 0, as vdpbf16ps does, rounds to nearest even, and sums a pair's products before
// it adds them to the sum.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace hgfast::cpu::HGFAST_ISA {

constexpr int kTileRows = 16, kTileBytes = 64;
constexpr int kTileSums = kTileBytes / sizeof(float);  // columns of a tile of sums

// The numbers of palette 1's configuration, Intel's Software Developer's Manual, volume 1, chapter 18.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};

  TileConfig() {
    for (int tile = 0; tile < 8; ++tile) column_bytes[tile] = kTileBytes, rows[tile] = kTileRows;
  }
};

// This thread's tiles are configured as long as a UseOfTiles lives. Released, they are no more saved and restored when
// threads are switched. Not to be nested.
class UseOfTiles {
 public:
  UseOfTiles() {
    const TileConfig config;
    _tile_loadconfig(&config);
  }
  ~UseOfTiles() { _tile_release(); }
  UseOfTiles(const UseOfTiles&) = delete;
  UseOfTiles& operator=(const UseOfTiles&) = delete;
};

template <int kTile>
[[gnu::always_inline]] inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

// Rows of kTileBytes, `stride` bytes apart.
template <int kTile>
[[gnu::always_inline]] inline void tile_load(const void* from, int64_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                   :
                   : "r"(from), "r"(stride), "i"(kTile), "m"(*static_cast<const char (*)[]>(from)));
}
template <int kTile>
[[gnu::always_inline]] inline void tile_store(void* to, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c3, (%1,%2,1)"
                   : "=m"(*static_cast<char (*)[]>(to))
                   : "r"(to), "r"(stride), "i"(kTile));
}

// Products of pairs of bfloat16, summed in float32.
struct Bfloat16TileProduct {
  template <int kSum, int kLeft, int kRight>
  [[gnu::always_inline]] static void add() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kLeft), "i"(kRight));
  }
};

}  // namespace hgfast::cpu::HGFAST_ISA
