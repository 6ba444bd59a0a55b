// Convolution of an input with few channels on mma.sync: the 7x7 stride-2 stem over 3 channels, and other C that are no
// multiple of 8 (a 1x1 over 17 heatmaps).
//
// GEMM as in cuda/conv_mma.cuh, but K, all taps and channels of a result in one row of kSmallK elements, is gathered
// into shared memory: from the patch of the input under the block's results, which is copied there first
// (cuda/conv_patch.cuh: 8 x 16 results of one image), or, where that is too large or results are few, from global
// memory element by element, for any 128 results in a row. The gathered tile serves all output channels, 64 at a time.
// Tiling: a block computes 128 pixels x all K with 8 warps of 32x32; in float32 64 pixels by 16x32, or it would need
// 120 KiB. Bytes: x and y once; FLOPs 2 n p q k kSmallK. For the stem bound by the write of y. Limits: kernel^2 C <=
// 160, no extra input, slices below 2^31 elements; float32 runs as tf32, or exactly (kExact). Status: compiled and run
// under the host emulator; not yet run on a GPU.
#pragma once

#include "cuda/conv_args.cuh"
#include "cuda/conv_patch.cuh"
#include "cuda/conv_plain.cuh"
#include "cuda/mma.cuh"

namespace hgfast::cuda {

template <class T>
struct SmallTile {
  static constexpr int kTileM = kSmallTileM<T>, kTileN = kSmallTileN;
  static constexpr int kWarpM = kTileM / 4, kWarpN = 32, kWarps = 8, kThreads = kSmallThreads;
  static constexpr int kBlockBytesA = kTileM * kRowBytes, kBlockBytesB = kTileN * kRowBytes;
  static constexpr int kSmemBytes = kSmallSmemBytes<T>;
  static_assert(kWarps * kSlabFloats<16, kWarpN> * 4 <= 3 * kBlockBytesB,
                "the epilogue's slabs reuse the weights' memory");
  static_assert(kSmemBytes <= 99 << 10, "what a block may have on compute capability 8.6 and 8.9");
};

// Gathers rows of K for a block's pixels into swizzled shared memory.
template <class T>
HG_DEV void gather_pixels(const ConvArgs<T>& a, T* tile, int m0, int warp, int lane) {
  using Tile = SmallTile<T>;
  constexpr int kPerLane = kSmallK<T> / 32;
  const int c = a.input.c, terms = a.kernel * a.kernel * c;
  int offset[kPerLane], dy[kPerLane], dx[kPerLane];
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    const int term = lane + 32 * j, tap = term / c;
    dy[j] = tap / a.kernel, dx[j] = tap % a.kernel;
    offset[j] = (dy[j] * a.input.w + dx[j]) * c + term % c;
  }
#pragma unroll 1
  for (int row = warp; row < Tile::kTileM; row += Tile::kWarps) {
    const int pixel = m0 + row, line = pixel / a.q;
    const int y0 = line % a.p * a.input.stride - a.pad, x0 = pixel % a.q * a.input.stride - a.pad;
    const int base = ((line / a.p * a.input.h + y0) * a.input.w + x0) * c;
    T value[kPerLane];
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int y = y0 + dy[j], x = x0 + dx[j];
      const bool inside =
          pixel < a.pixels && lane + 32 * j < terms && y >= 0 && y < a.input.h && x >= 0 && x < a.input.w;
      value[j] = inside ? a.input.x[base + offset[j]] : from_float<T>(0.f);
    }
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int term = lane + 32 * j, chunk = term % kBlockK<T> / kChunkK<T>;
      const uint32_t at = term / kBlockK<T> * Tile::kBlockBytesA + swizzled(row, chunk);
      tile[at / sizeof(T) + term % kChunkK<T>] = value[j];
    }
  }
}

// Copies the weights of 64 output channels, zeros beyond the last: four threads a row.
template <class T>
HG_DEV void load_small_weights(const ConvArgs<T>& a, uint32_t tile, int n0) {
  using Tile = SmallTile<T>;
  constexpr int kPerRow = kSmallBlocks<T> * kChunks, kThreadsOfRow = Tile::kThreads / Tile::kTileN;
  static_assert(kPerRow % kThreadsOfRow == 0 && kChunks % kThreadsOfRow == 0);
  const int row = threadIdx.x / kThreadsOfRow, first = threadIdx.x % kThreadsOfRow;
  const bool valid = n0 + row < a.k;
  const T* source = valid ? a.weight + (n0 + row) * kSmallK<T> + first * kChunkK<T> : a.weight;
#pragma unroll
  for (int i = 0; i < kPerRow / kThreadsOfRow; ++i) {
    const int chunk = i * kThreadsOfRow % kChunks, block = i * kThreadsOfRow / kChunks;
    ptx::cp_async16(tile + block * Tile::kBlockBytesB + swizzled(row, chunk + first),
                    valid ? source + i * kThreadsOfRow * kChunkK<T> : source, valid ? 16 : 0);
  }
  ptx::cp_async_commit();
}

// acc += A B^T over the first `bytes` of K: what lies behind them is zeros.
template <class T, bool kExact, int kI, int kJ>
HG_DEV void multiply_terms(float (&acc)[kI][kJ][4], uint32_t tile_a, int row_a, uint32_t tile_b, int row_b, int bytes,
                           int lane) {
  using Tile = SmallTile<T>;
#pragma unroll 1
  for (; bytes > kRowBytes / 2; bytes -= kRowBytes, tile_a += Tile::kBlockBytesA, tile_b += Tile::kBlockBytesB)
    multiply_tiles<T, kExact>(acc, tile_a, row_a, tile_b, row_b, lane);
  if (bytes <= 0) return;
#pragma unroll
  for (int step = 0; step < kRowBytes / 64; ++step) {  // of half a block
    uint32_t a[kI][4], b[kJ][2];
#pragma unroll
    for (int i = 0; i < kI; ++i)
      ptx::ldmatrix_x4(a[i], tile_a + swizzled(row_a + (lane & 15) + 16 * i, 2 * step + (lane >> 4)));
#pragma unroll
    for (int j = 0; j < kJ; j += 2)
      load_fragments_b(reinterpret_cast<uint32_t (&)[2][2]>(b[j]), tile_b, row_b + 8 * j, step, lane);
    multiply_fragments<T, kExact>(acc, a, b);
  }
}

template <class T>
struct SmallArgs {
  ConvArgs<T> conv;
  PatchGrid<T> patches;
  PlainOutput<T> output;
  bool plain;  // output is all there is to do
};

// Where a block's results are: row 0..kTileM of its tile -> result pixel, or -1.
template <class T, bool kPatch>
struct SmallPlace {
  PatchTile<T> patch;
  int m0;

  HG_DEV int pixel(const ConvArgs<T>& a, int row) const {
    if constexpr (kPatch) {
      const int p = patch.p0 + row / kPatchColumns<T>, q = patch.q0 + row % kPatchColumns<T>;
      return p < a.p && q < a.q ? (patch.image * a.p + p) * a.q + q : -1;
    } else {
      return m0 + row < a.pixels ? m0 + row : -1;
    }
  }
};

// Gathers the block's rows of K; the weights are on their way, but for those in whose memory a patch lies.
template <class T, bool kPatch>
HG_DEV void gather_tile(const SmallArgs<T>& a, const SmallPlace<T, kPatch>& place, unsigned char* smem, int warp,
                        int lane) {
  using Tile = SmallTile<T>;
  if constexpr (kPatch) {
    T* patch = reinterpret_cast<T*>(smem + kSmallBlocks<T> * Tile::kBlockBytesA);
    load_patch(a.conv, a.patches, place.patch, patch);
    ptx::cp_async_wait<0>();
    __syncthreads();
    gather_patch<T, Tile::kBlockBytesA>(a.conv, a.patches, place.patch, patch, smem, warp, lane);
    __syncthreads();
    load_small_weights(a.conv, ptx::smem_u32(smem + kSmallBlocks<T> * Tile::kBlockBytesA), 0);
  } else {
    load_small_weights(a.conv, ptx::smem_u32(smem + kSmallBlocks<T> * Tile::kBlockBytesA), 0);
    gather_pixels(a.conv, reinterpret_cast<T*>(smem), place.m0, warp, lane);
  }
}

// Writes a warp's results: kI blocks of 16 rows from row0, 8 kJ columns from channel0; at: see store_plain.
template <class T, bool kPatch, int kI, int kJ, int kParts>
HG_DEV void finish_tile(const SmallArgs<T>& a, const SmallPlace<T, kPatch>& place, float (&acc)[kI][kJ][4], float* slab,
                        int row0, int channel0, int lane, const int (&at)[kI][kParts]) {
  if (a.plain) {
    float bias[kJ][2];
    load_bias(a.output, channel0, lane, bias);
#pragma unroll
    for (int i = 0; i < kI; ++i) store_plain(a.output, acc[i], bias, reinterpret_cast<T*>(slab), channel0, lane, at[i]);
    return;
  }
#pragma unroll
  for (int i = 0; i < kI; ++i) {
    stage_rows<8 * kJ>(slab, &acc[i][0][0], lane);
    __syncwarp();
    finish_rows<8 * kJ, 1>(
        a.conv.epilogue, slab, channel0, lane, [&](int row) { return place.pixel(a.conv, row0 + 16 * i + row); },
        AddNothing());
    __syncwarp();
  }
}

template <class T, bool kExact, bool kPatch>
__global__ void __launch_bounds__(SmallTile<T>::kThreads, 2) conv_small_kernel(const __grid_constant__ SmallArgs<T> a) {
  using Tile = SmallTile<T>;
  constexpr int kI = Tile::kWarpM / 16, kJ = Tile::kWarpN / 8;
  HG_DYN_SMEM(smem, kSwizzleAlignment);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row_a = warp % 4 * Tile::kWarpM, row_b = warp / 4 * Tile::kWarpN;
  unsigned char* smem_b = smem + kSmallBlocks<T> * Tile::kBlockBytesA;
  const uint32_t tile_a = ptx::smem_u32(smem), tile_b = ptx::smem_u32(smem_b);
  float* slab = reinterpret_cast<float*>(smem_b) + warp * kSlabFloats<16, Tile::kWarpN>;
  const int bytes = a.conv.kernel * a.conv.kernel * a.conv.input.c * static_cast<int>(sizeof(T));
  SmallPlace<T, kPatch> place{};
  if constexpr (kPatch)
    place.patch = find_patch(a.conv, a.patches, blockIdx.x);
  else
    place.m0 = blockIdx.x * Tile::kTileM;

  using Rows = PlainRows<T, kJ>;
  int at[kI][Rows::kParts];
#pragma unroll
  for (int i = 0; i < kI; ++i)
#pragma unroll
    for (int part = 0; part < Rows::kParts; ++part) {
      const int pixel = place.pixel(a.conv, row_a + 16 * i + Rows::row(part, lane));
      at[i][part] = pixel < 0 ? -1 : pixel * a.conv.k;
    }
  gather_tile(a, place, smem, warp, lane);
#pragma unroll 1
  for (int n0 = 0; n0 < a.conv.k; n0 += Tile::kTileN) {
    ptx::cp_async_wait<0>();
    __syncthreads();
    float acc[kI][kJ][4] = {};
    multiply_terms<T, kExact>(acc, tile_a, row_a, tile_b, row_b, bytes, lane);
    __syncthreads();
    finish_tile(a, place, acc, slab, row_a, n0 + row_b, lane, at);
    __syncthreads();
    if (n0 + Tile::kTileN < a.conv.k) load_small_weights(a.conv, tile_b, n0 + Tile::kTileN);
  }
}

template <class T, bool kExact>
void launch_conv_small(const Conv& a, const ConvChoice& choice, Exec stream) {
  using Tile = SmallTile<T>;
  const bool plain = takes_plain<T>(a);
  const SmallArgs<T> args{
      make_conv_args<T>(a, choice),
      PatchGrid<T>(a),
      {static_cast<T*>(a.y), plain ? a.bias : nullptr, static_cast<int>(a.shape.k), a.relu != 0 ? 0.f : -INFINITY},
      plain};
  const auto run = [&](auto kernel, int64_t blocks) {
    launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(Tile::kThreads), Tile::kSmemBytes, stream, args);
  };
  if (args.patches.fits(a))
    run(conv_small_kernel<T, kExact, true>, args.patches.tiles);
  else
    run(conv_small_kernel<T, kExact, false>, ceil_div(args.conv.pixels, Tile::kTileM));
}

template <class T>
void run_conv_small(const Conv& a, const ConvChoice& choice, Exec stream) {
  if constexpr (std::is_same_v<T, float>) {
    if (is_exact(a.shape)) return launch_conv_small<T, true>(a, choice, stream);
  }
  launch_conv_small<T, false>(a, choice, stream);
}

}  // namespace hgfast::cuda
