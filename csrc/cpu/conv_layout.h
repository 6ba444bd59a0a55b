// How a convolution is cut up: the algorithm, its tiles, the packed weights' layout and the workspace.
//
// Output is made of tiles of tile x tile pixels (1 x 1 for the direct algorithm). A block of tiles is gathered into the
// panel V (points x reduction blocks x tiles x lanes); then, for each group of kGemmWidth output channels, the products
// M (points x tiles x width) are computed and scattered with the epilogue. M, small, stays in L2; the direct algorithm
// needs none (PixelSink), and where its weights stay in L2 a block is what one call of the GEMM takes, so that input
// and output pass L1 once. Where pixels lie as the GEMM's rows do (ConvInput), there is no V. Two ways to share the
// work: each thread has its own V and takes blocks of tiles; or, where tiles are too few for that and reading the
// weights is what costs, all threads fill one V and then take groups of output channels.
#pragma once

#include "common/conv.h"
#include "common/ops.h"
#include "cpu/conv_gemm.h"

namespace hgfast::cpu::HGFAST_ISA {

// Codes of ConvShape::algorithm. The number also stands for the layout of the packed weights.
enum class ConvAlgorithm : int64_t {
  kAuto = 0,
  kDirect = 1,
  kF23 = 2,
  kF43 = 3,
  kF63 = 4,
  kS23 = 5,
  kS43 = 6,
  kDirectPairs = 7,  // of bfloat16, see conv_product.h
  kF43Int16 = 8,     // see conv_int16.h
  kF23Int16 = 9,
  kS43Int16 = 10,
};

// The algorithm that does in float32 what one on pairs does.
inline ConvAlgorithm without_pairs(ConvAlgorithm algorithm) {
  switch (algorithm) {
    case ConvAlgorithm::kDirectPairs:
      return ConvAlgorithm::kDirect;
    case ConvAlgorithm::kF43Int16:
      return ConvAlgorithm::kF43;
    case ConvAlgorithm::kF23Int16:
      return ConvAlgorithm::kF23;
    case ConvAlgorithm::kS43Int16:
      return ConvAlgorithm::kS43;
    default:
      return algorithm;
  }
}

// Where the GEMM's rows are.
enum class ConvInput {
  kPanel,   // gathered into V
  kPoints,  // 1x1: the pixels themselves
  kStem,  // 7x7 of 3 channels (or another kernel row of kStemRow numbers): a copy of the image with a border of zeros;
          // a tile block is a row of the output
};

struct ConvTiling {
  ConvAlgorithm algorithm;
  int64_t points, tile;
  const char *name, *name_bf16;  // for people; of activations in float32, in bfloat16
  bool pairs = false;            // two numbers of the reduction are one of the GEMM's
};

struct ConvLayout {
  ConvTiling tiling;
  int64_t tiles_h, tiles_w, tiles;  // tiles of the whole batch
  int64_t rows;                     // reduction length per point, in numbers of the GEMM
  int64_t blocks;                   // the same in vectors
  int64_t extra_blocks;             // of the extra input: more blocks of the one point (direct), or a GEMM of its own
  int64_t k_groups;                 // groups of kGemmWidth output channels
  ConvInput input;
  bool shared;         // one V for all threads
  int64_t tile_block;  // tiles in V
  int64_t threads;
  int64_t bordered_floats;  // of the copies with borders, if input is kStem

  static constexpr int64_t kApart = 2048;  // floats

  bool direct() const { return tiling.tile == 1; }
  bool scaled() const { return tiling.pairs && !direct(); }  // int16
  int64_t tile_pixels() const { return tiling.tile * tiling.tile; }
  int64_t panel_blocks() const { return blocks + (direct() ? extra_blocks : 0); }
  int64_t separate_extra_blocks() const { return direct() ? 0 : extra_blocks; }

  // Packed weights, in rows of one group's channels: all points, then the separate extra panel. One row of padding
  // between points keeps their addresses off one another's cache sets, of which packing writes to all points at once.
  int64_t point_rows() const { return panel_blocks() * kConvLanes + (direct() ? 0 : 1); }
  int64_t unscaled_rows() const { return tiling.points * point_rows() + separate_extra_blocks() * kConvLanes; }
  int64_t group_rows() const { return unscaled_rows() + (scaled() ? tiling.points : 0); }
  int64_t channel_scales(int width) const { return unscaled_rows() * width; }  // floats before them
  int64_t packed_floats() const { return k_groups * group_rows() * kGemmWidth; }

  // V and M, in floats. One vector of padding between points keeps their addresses off one another's cache sets.
  int64_t v_block() const { return tile_block * kConvLanes; }
  int64_t v_point() const { return panel_blocks() * v_block() + kConvLanes; }
  int64_t gathered_floats() const { return input == ConvInput::kPanel ? v_floats() : 0; }
  int64_t extra_v_block() const { return v_block() * tile_pixels(); }
  int64_t v_scales() const { return tiling.points * v_point() + separate_extra_blocks() * extra_v_block(); }
  int64_t scale_step() const { return scaled() ? ceil_div(tiling.points, kConvLanes) * kConvLanes : 0; }
  int64_t v_floats() const { return v_scales() + tile_block * scale_step(); }
  int64_t m_point(int width) const { return tile_block * width + kConvLanes; }
  int64_t m_main_floats() const { return direct() ? 0 : tiling.points * m_point(kGemmWidth); }
  int64_t m_floats() const {
    return m_main_floats() + (separate_extra_blocks() ? tile_block * tile_pixels() * kGemmWidth : 0);
  }
  // Of the direct algorithm's gathering, where channels do not fill vectors (DirectTiles::gather_elements); or a tile's
  // points before they are scaled.
  int64_t scratch_floats() const {
    if (scaled()) return tiling.points * scratch_point();
    return direct() && rows % kConvLanes ? (blocks + 2) * kConvLanes : 0;
  }
  int64_t scratch_point() const { return (2 * blocks + 1) * kConvLanes; }
  // Pages apart, or a core's prefetcher would take lines from the one that writes the neighbouring area.
  int64_t thread_floats() const { return m_floats() + scratch_floats() + (shared ? 0 : gathered_floats()) + kApart; }
  int64_t shared_floats() const { return shared ? gathered_floats() : ceil_div(bordered_floats, kApart) * kApart; }
  int64_t workspace_floats() const { return shared_floats() + threads * thread_floats(); }
};

// Channels of a group and the width of its panels: the last group of few channels is one vector wide.
struct KGroup {
  int64_t first;
  int width;

  KGroup(int64_t k, int64_t group) : first(group * kGemmWidth) {
    width = k - first <= kConvLanes ? kConvLanes : kGemmWidth;
  }
};

// The same with two channels taken for one, an odd one at the end for another.
inline ConvShape in_pairs(ConvShape shape) {
  shape.c = ceil_div(shape.c, 2), shape.extra_c = ceil_div(shape.extra_c, 2);
  return shape;
}

// Throws std::invalid_argument for shapes that no kernel takes.
ConvLayout conv_layout(const ConvShape& shape, Exec exec);

}  // namespace hgfast::cpu::HGFAST_ISA
