// The tiles of the whole-bottleneck kernel, and what it is told.
#pragma once

#include "common/bottleneck.h"
#include "cuda/conv_args.cuh"

namespace hgfast::cuda {

// By instruction, pixels of a tile, and channels inside the block at most.
enum class BottleneckKernel : int {
  kNone = 0,  // three convolutions
  kMma8x16x128 = 1,
  kMma8x8x128 = 2,
  kMma8x16x64 = 3,
  kWgmma8x16x128 = 4,
  kWgmma8x8x128 = 5,
  kWgmma8x16x64 = 6,
};

struct MmaProducts;    // cuda/bottleneck_mma.cuh
struct WgmmaProducts;  // cuda/bottleneck_wgmma.cuh

// A block computes TileH x TileW result pixels; M: channels inside the block, at most. WarpsM warps share the rows of a
// GEMM, 16 each in turn; a warp has kColumns of the columns. conv1 does the halo tile in passes of PassI turns.
template <class Products_, int TileH, int TileW, int M, int WarpsM, int PassI>
struct BottleneckTile {
  using Products = Products_;
  static constexpr bool kWgmma = std::is_same_v<Products, WgmmaProducts>;
  static constexpr int kTileH = TileH, kTileW = TileW, kM = M, kWarpsM = WarpsM, kPassI = PassI;
  static constexpr int kColumns = kWgmma ? M : 64, kTurnRows = 16 * WarpsM;
  static constexpr int kWarps = WarpsM * (M / kColumns), kThreads = 32 * kWarps, kMinBlocks = 2;
  static constexpr int kPixels = TileH * TileW, kHaloW = TileW + 2, kHalo = (TileH + 2) * kHaloW;
  static constexpr int kI = kPixels / kTurnRows, kJ = kColumns / 8;  // blocks of 16 rows, 8 columns of a warp
  static constexpr int kHaloTurns = (kHalo + kTurnRows - 1) / kTurnRows, kPassRows = PassI * kTurnRows;
  static constexpr int kPasses = (kHaloTurns + PassI - 1) / PassI, kLastI = kHaloTurns - (kPasses - 1) * PassI;
  static constexpr int kBlocks = M * 2 / kRowBytes;  // rows of 128 bytes that hold the M channels of a pixel
  static constexpr int kBytesX = kPassRows * kRowBytes, kStageBytes = kBytesX + M * kRowBytes, kStages = 2;
  static constexpr int kBytesT = kBlocks * kHalo * kRowBytes, kSmemBytes = kStages * kStageBytes + kBytesT;
  static constexpr int kSlabColumns = 32;
  static_assert(16 % TileW == 0 && TileW % 8 == 0, "16 rows of A are whole lines; ldmatrix meets no bank twice");
  static_assert(kPixels % kTurnRows == 0 && M % kColumns == 0 && (!kWgmma || WarpsM == 4));
  static_assert(kPassRows % (kThreads / kChunks) == 0 && M % (kThreads / kChunks) == 0);
  static_assert(kWarps * kSlabFloats<16, kSlabColumns> * 4 <= kBytesX, "the slabs reuse a stage's input");
};

template <class T>
struct BottleneckArgs {
  const T* x;
  const float *scale1, *shift1;
  const T* weight[3];
  const float* bias[2];  // of conv1 and conv2; conv3's is in the epilogue
  ConvEpilogue<T> epilogue;
  int h, w, c, m;
  int tiles_x, tiles_y;
  int c_blocks, parts;  // of 128 bytes of x, and of kM output channels
};

// The convolutions inside a block, as conv_query and conv_pack see them.
inline ConvShape inner_conv(const BottleneckShape& s, int index) {
  ConvShape conv;
  conv.n = s.n, conv.h = conv.p = s.h, conv.w = conv.q = s.w;
  conv.c = index == 0 ? s.c : s.m, conv.k = index == 2 ? s.c : s.m, conv.kernel = index == 1 ? 3 : 1;
  conv.out_h = index == 2 ? s.out_h : s.h, conv.out_w = index == 2 ? s.out_w : s.w;
  conv.dtype = s.dtype;
  return conv;
}

template <class T, class Tile>
BottleneckArgs<T> make_bottleneck_args(const Bottleneck& a) {
  const BottleneckShape& s = a.shape;
  Conv last;
  last.shape = inner_conv(s, 2);
  last.bias = a.bias3, last.residual = a.x, last.upsample_to = a.upsample_to;
  last.y = a.y, last.scale2 = a.scale2, last.shift2 = a.shift2, last.y2 = a.y2;
  return {static_cast<const T*>(a.x),
          a.scale1,
          a.shift1,
          {static_cast<const T*>(a.weight1), static_cast<const T*>(a.weight2), static_cast<const T*>(a.weight3)},
          {a.bias1, a.bias2},
          make_epilogue<T>(last),
          static_cast<int>(s.h),
          static_cast<int>(s.w),
          static_cast<int>(s.c),
          static_cast<int>(s.m),
          static_cast<int>(ceil_div(s.w, Tile::kTileW)),
          static_cast<int>(ceil_div(s.h, Tile::kTileH)),
          static_cast<int>(ceil_div(s.c, kBlockK<T>)),
          static_cast<int>(ceil_div(s.c, Tile::kM))};
}

}  // namespace hgfast::cuda
