// How a convolution is cut up for tiles: a direct algorithm, out[pixel][k] = sum over steps of the reduction.
//
// A step is what one multiplication of tiles reduces: kStep input channels. Sums are made for two tiles of kTileRows
// output pixels and a group of kGroup output channels at a time. The left operand's rows, pixels at equal distances,
// are loaded from where they lie if they can be (TileInput), so that what is copied is little. Packed weights hold, for
// each group and step, two tiles, in the order in which they are read.
#pragma once

#include "common/conv.h"
#include "common/ops.h"
#include "cpu/amx/tile.h"

namespace hgfast::cpu::HGFAST_ISA {

constexpr int64_t kDirectTiles = 11;  // ConvShape::algorithm, after those of conv_layout.h
constexpr int64_t kStep = kTileBytes / 2;
constexpr int64_t kGroup = 2 * kTileSums;
constexpr int64_t kTileSize = kTileRows * kTileBytes;  // bytes
constexpr int64_t kStepWeights = 2 * kTileSize;        // bytes

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// Where the left operand lies.
enum class TileInput {
  kStored,    // 1x1: the image itself
  kBordered,  // copies of a block's image rows with zeros around them: (channels / kStep, rows, columns, kStep). A tap
              // is an offset.
  kGathered,  // all taps of each pixel of a block: (steps, pixels, kStep). A step is a part of a kernel row, whose
              // kernel * c numbers follow each other in an image and are filled up with zeros.
};

struct TileLayout {
  TileInput input, extra;
  bool by_rows;                // tiles do not reach from one row of the output into the next
  int64_t row_tiles;           // by rows: of a row of the output, the last one overlapping the one before it
  int64_t strips, strip;       // what blocks do not reach across: images (by rows), the batch; units of each
  int64_t block;               // units of a block; a unit is a row of the output (by rows) or a tile
  int64_t steps, extra_steps;  // of the reduction
  int64_t groups;              // of kGroup output channels
  int64_t threads;
  bool shared;  // all threads copy a block, then each makes its own output channels; else each makes its own blocks

  bool weights_stay() const;  // in L2, from block to block
  int64_t unit_tiles() const { return by_rows ? row_tiles : 1; }
  int64_t strip_blocks() const { return divide_up(strip, block); }
  int64_t group_bytes() const { return (steps + extra_steps) * kStepWeights; }
  int64_t packed_bytes() const { return groups * group_bytes(); }

  // The copies of a block.
  int64_t bordered_rows(const ConvShape& s) const { return (block - 1) * s.stride + s.kernel; }
  int64_t bordered_columns(const ConvShape& s) const { return (s.q - 1) * s.stride + s.kernel; }
  int64_t input_bytes(const ConvShape& s) const {
    if (input == TileInput::kStored) return 0;
    if (input == TileInput::kBordered) return s.c / kStep * bordered_rows(s) * bordered_columns(s) * kTileBytes;
    return steps * gathered_step();
  }
  int64_t extra_bytes() const { return extra == TileInput::kGathered ? extra_steps * gathered_step() : 0; }
  int64_t gathered_step() const { return block * unit_tiles() * kTileSize; }

  // The workspace: offsets of the steps, then the copies, for all threads or for each, then each thread's sums and
  // the places of a block's tiles.
  int64_t table_bytes() const { return round_up((steps + extra_steps) * sizeof(int64_t), kPage); }
  int64_t tiles_bytes() const { return round_up(block * unit_tiles() * kTilePlace, kPage); }
  int64_t thread_bytes() const { return kSumsBytes + tiles_bytes(); }
  int64_t copy_bytes(const ConvShape& s) const { return round_up(input_bytes(s) + extra_bytes(), kPage); }
  int64_t workspace_bytes(const ConvShape& s) const {
    return table_bytes() + (shared ? 1 : threads) * copy_bytes(s) + threads * thread_bytes();
  }

  static constexpr int64_t kPage = 4096;
  static constexpr int64_t kTilePlace = 64;  // at least the size of what engine.h notes of a tile
  static constexpr int64_t kSumsBytes = 4 * kTileSize;
};

// The reduction's order, which the packed weights have: where channels fill steps, all taps of kStep of them, then the
// next ones, so that L1 holds the pixels of all taps; else the order of the image.
inline bool whole_steps(const ConvShape& s) { return s.c % kStep == 0; }

bool takes_tiles(const ConvShape& shape);
TileLayout tile_layout(const ConvShape& shape, Exec exec);

}  // namespace hgfast::cpu::HGFAST_ISA
