// The inner loop: sums of two tiles of pixels and a group of output channels, in four tiles, over all steps.
//
// A step loads two tiles of each operand, 4 KB, and multiplies for 64 cycles. What else a block costs is done in these
// cycles, a share at a time (Meanwhile). Steps are unrolled by kChunk, as a branch that is mispredicted costs a
// thousand cycles here, and the processor predicts the end of a loop of up to some thirty turns.
#pragma once

#include "cpu/amx/finish.h"
#include "cpu/amx/layout.h"

namespace hgfast::cpu::HGFAST_ISA {

// Up to two tiles' pixels in an operand: where their rows begin, and the distance of the rows.
struct TileOperand {
  const char* at[2];
  int64_t row_bytes;
  const int64_t* offsets;  // of the steps
  int64_t steps;
};

// Lines fetched a few at a time.
struct LinesAhead {
  const char* next;
  int64_t lines;  // at a time

  [[gnu::always_inline]] void fetch() {
    for (int64_t i = 0; i < lines; ++i, next += 64) __builtin_prefetch(next, 0, 2);
  }
};

// What is done between the multiplications: the sums before these are finished, and lines fetched that come next.
struct Meanwhile {
  Finisher& finisher;
  int rows;  // finished at a time
  LinesAhead weights;

  [[gnu::always_inline]] void share() {
    finisher.rows(rows);
    weights.fetch();
  }
};

template <class Product, int kPixelTiles, int kSteps>
[[gnu::always_inline]] inline void add_chunk(const TileOperand& a, const int64_t* offsets, const char* b) {
#pragma GCC unroll 8
  for (int step = 0; step < kSteps; ++step, b += kStepWeights) {
    const int64_t offset = offsets[step];
    tile_load<4>(a.at[0] + offset, a.row_bytes);
    tile_load<6>(b, kTileBytes);
    Product::template add<0, 4, 6>();
    tile_load<7>(b + kTileSize, kTileBytes);
    Product::template add<1, 4, 7>();
    if constexpr (kPixelTiles == 2) {
      tile_load<5>(a.at[1] + offset, a.row_bytes);
      Product::template add<2, 5, 6>();
      Product::template add<3, 5, 7>();
    }
  }
}

template <class Product, int kPixelTiles, int kChunk>
[[gnu::always_inline]] inline void add_chunks(const TileOperand& a, const char* b, Meanwhile& meanwhile) {
  int64_t step = 0;
  for (; step + kChunk <= a.steps; step += kChunk) {
    add_chunk<Product, kPixelTiles, kChunk>(a, a.offsets + step, b + step * kStepWeights);
    meanwhile.share();
  }
  if constexpr (kChunk > 1) {
    if ((a.steps - step) & 4) {
      add_chunk<Product, kPixelTiles, 4>(a, a.offsets + step, b + step * kStepWeights);
      step += 4;
    }
    for (; step < a.steps; ++step) add_chunk<Product, kPixelTiles, 1>(a, a.offsets + step, b + step * kStepWeights);
  }
}

// Steps after which a share of the rest is due.
constexpr int64_t kChunkSteps = 8, kFewSteps = 16;
inline int64_t chunk_of(int64_t steps) { return steps <= kFewSteps ? 1 : kChunkSteps; }

// Sums to sums[pixel][channel]; b: the group's weights, those of the extra input after the others.
template <class Product, int kPixelTiles, int kChunk>
void multiply_tiles(const TileOperand& main, const TileOperand& extra, const char* b, Meanwhile& meanwhile,
                    float* sums) {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  add_chunks<Product, kPixelTiles, kChunk>(main, b, meanwhile);
  if (extra.steps) add_chunks<Product, kPixelTiles, kChunk>(extra, b + main.steps * kStepWeights, meanwhile);
  meanwhile.finisher.all();
  constexpr int64_t kRowBytes = kGroup * sizeof(float);
  tile_store<0>(sums, kRowBytes);
  tile_store<1>(sums + kTileSums, kRowBytes);
  if constexpr (kPixelTiles == 2) {
    tile_store<2>(sums + kTileRows * kGroup, kRowBytes);
    tile_store<3>(sums + kTileRows * kGroup + kTileSums, kRowBytes);
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
