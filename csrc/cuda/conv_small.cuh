// Convolution of an input with few channels on mma.sync: the 7x7 stride-2 stem over 3 channels, and other C that are no
// multiple of 8 (a 1x1 over 17 heatmaps).
//
// GEMM as in cuda/conv_mma.cuh, but K, all taps and channels of a result in one row of kSmallK elements, is gathered
// into shared memory element by element: a lane keeps its K indices for all pixels, neighbouring lanes read
// neighbouring elements (of NHWC a filter row is contiguous). The gathered tile serves all output channels, 64 at a
// time. Tiling: a block computes 128 pixels x all K with 8 warps of 32x32; in float32 64 pixels by 16x32, or it would
// need 120 KiB. Bytes: x and y once (taps hit in L1); FLOPs 2 n p q k kSmallK. For the stem bound by the write of y.
// Limits: kernel^2 C <= 160, no extra input, slices below 2^31 elements; float32 runs as tf32, or exactly
// (kExact).
// Status: compiled and run under the host emulator; not yet run on a GPU.
#pragma once

#include "cuda/conv_args.cuh"
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

// Copies the weights of 64 output channels, zeros beyond the last.
template <class T>
HG_DEV void load_small_weights(const ConvArgs<T>& a, uint32_t tile, int n0) {
  using Tile = SmallTile<T>;
  constexpr int kPerRow = kSmallBlocks<T> * kChunks;
  for (int i = threadIdx.x; i < Tile::kTileN * kPerRow; i += Tile::kThreads) {
    const int row = i / kPerRow, chunk = i % kPerRow;
    const bool valid = n0 + row < a.k;
    ptx::cp_async16(tile + chunk / kChunks * Tile::kBlockBytesB + swizzled(row, chunk % kChunks),
                    valid ? a.weight + (n0 + row) * kSmallK<T> + chunk * kChunkK<T> : a.weight, valid ? 16 : 0);
  }
  ptx::cp_async_commit();
}

template <class T, bool kExact>
__global__ void __launch_bounds__(SmallTile<T>::kThreads, 2) conv_small_kernel(const __grid_constant__ ConvArgs<T> a) {
  using Tile = SmallTile<T>;
  constexpr int kI = Tile::kWarpM / 16, kJ = Tile::kWarpN / 8;
  HG_DYN_SMEM(smem, kSwizzleAlignment);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row_a = warp % 4 * Tile::kWarpM, row_b = warp / 4 * Tile::kWarpN;
  const int m0 = blockIdx.x * Tile::kTileM;
  unsigned char* smem_b = smem + kSmallBlocks<T> * Tile::kBlockBytesA;
  const uint32_t tile_a = ptx::smem_u32(smem), tile_b = ptx::smem_u32(smem_b);
  float* slab = reinterpret_cast<float*>(smem_b) + warp * kSlabFloats<16, Tile::kWarpN>;

  load_small_weights(a, tile_b, 0);
  gather_pixels(a, reinterpret_cast<T*>(smem), m0, warp, lane);
#pragma unroll 1
  for (int n0 = 0; n0 < a.k; n0 += Tile::kTileN) {
    ptx::cp_async_wait<0>();
    __syncthreads();
    float acc[kI][kJ][4] = {};
#pragma unroll 1
    for (int block = 0; block < kSmallBlocks<T>; ++block)
      multiply_tiles<T, kExact>(acc, tile_a + block * Tile::kBlockBytesA, row_a, tile_b + block * Tile::kBlockBytesB,
                                row_b, lane);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kI; ++i) {
      stage_rows<Tile::kWarpN>(slab, &acc[i][0][0], lane);
      __syncwarp();
      finish_rows<Tile::kWarpN, 1>(
          a.epilogue, slab, n0 + row_b, lane,
          [&](int row) {
            const int pixel = m0 + row_a + 16 * i + row;
            return pixel < a.pixels ? pixel : -1;
          },
          AddNothing());
      __syncwarp();
    }
    __syncthreads();
    if (n0 + Tile::kTileN < a.k) load_small_weights(a, tile_b, n0 + Tile::kTileN);
  }
}

template <class T, bool kExact>
void launch_conv_small(const Conv& a, const ConvChoice& choice, Exec stream) {
  using Tile = SmallTile<T>;
  const ConvArgs<T> args = make_conv_args<T>(a, choice);
  launch(conv_small_kernel<T, kExact>, dim3(static_cast<unsigned>(ceil_div(args.pixels, Tile::kTileM))),
         dim3(Tile::kThreads), Tile::kSmemBytes, stream, args);
}

template <class T>
void run_conv_small(const Conv& a, const ConvChoice& choice, Exec stream) {
  if constexpr (std::is_same_v<T, float>) {
    if (is_exact(a.shape)) return launch_conv_small<T, true>(a, choice, stream);
  }
  launch_conv_small<T, false>(a, choice, stream);
}

}  // namespace hgfast::cuda
