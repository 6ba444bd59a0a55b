// Convolution as implicit GEMM on mma.sync (sm_80 and newer): 1x1, 3x3 and 5x5, any stride, with the extra 1x1 input as
// further K, split-K, and all epilogues of cuda/conv_epilogue.cuh.
//
// GEMM: rows are result pixels (n, p, q), columns output channels, K = taps x C (+ extra C) in steps of 128 bytes
// (64 half or 32 float elements). x NHWC, weights packed K-major (cuda/conv_pack.cuh).
// Tiling: a block computes kTileM x kTileN with warps of kWarpM x kWarpN; kStages stages of both operand tiles in
// swizzled shared memory, filled by cp.async of 16 bytes (a tap outside the picture and the tail of C are filled with
// zeros), read by ldmatrix. Grid: column tiles fastest, so that blocks that run together share input pixels in L2; z is
// the split of K.
// FLOPs: 2 n p q k (kernel^2 c + extra_c), rounded up to tiles. Bytes: x and residual and y once, weights per row of
// tiles through L2; each input pixel is fetched kernel^2 times from L1/L2.
// Limits: kernel up to 5 (a mask of taps), slices below 2^31 elements; float32 runs as tf32, or exactly (kExact). Any
// C and extra C, but those that are no multiple of 16 bytes are gathered element by element: meant for the 17 channels
// of a head. Status: compiled and run under the host emulator; not yet run on a GPU.
#pragma once

#include "cuda/conv_args.cuh"
#include "cuda/mma.cuh"

namespace hgfast::cuda {

template <ConvKernel Kernel, int M, int N, int WarpM, int WarpN, int Stages, int MinBlocks, bool Exact>
struct MmaTile {
  static constexpr ConvKernel kKernel = Kernel;
  static constexpr int kTileM = M, kTileN = N, kWarpM = WarpM, kWarpN = WarpN, kStages = Stages;
  static constexpr int kMinBlocks = MinBlocks;  // blocks that share an SM
  static constexpr bool kExact = Exact;         // float32 by three products of tf32 numbers
  static constexpr int kBatch = WarpN / 16;     // the epilogue's vectors in flight per lane
  static constexpr int kWarps = (M / WarpM) * (N / WarpN), kThreads = 32 * kWarps;
  static constexpr int kStageBytes = (M + N) * kRowBytes;
  static constexpr int kSmemBytes = Stages * kStageBytes;
  static_assert(kThreads % kChunks == 0 && M % (kThreads / kChunks) == 0 && N % (kThreads / kChunks) == 0);
  static_assert(kWarps * kSlabFloats<WarpM, WarpN> * 4 <= kSmemBytes,
                "the epilogue's slabs reuse the operands' memory");
};

// Copies the operand tiles of one K step after the other. A thread copies the same 16-byte chunk of every
// kThreads / 8-th row.
template <class T, class Tile>
struct ConvLoader {
  static constexpr int kRowStep = Tile::kThreads / kChunks;
  static constexpr int kRowsA = Tile::kTileM / kRowStep, kRowsB = Tile::kTileN / kRowStep;

  const ConvArgs<T>& a;
  int row, chunk;         // this thread's first row of a tile, and its chunk of every row
  int m0, n0;             // first pixel and output channel of the block's tile
  int offset[kRowsA];     // element of the pixel under tap 0, channel 0
  uint32_t taps[kRowsA];  // bit t: tap t lies inside the picture
  int step, tap, block;   // the next step: `block` of tap `tap`

  HG_DEV ConvLoader(const ConvArgs<T>& args, int tile_m, int tile_n, int first_step)
      : a(args),
        row(threadIdx.x / kChunks),
        chunk(threadIdx.x % kChunks),
        m0(tile_m * Tile::kTileM),
        n0(tile_n * Tile::kTileN),
        step(first_step) {
    const bool is_extra = step >= a.steps.main();
    tap = is_extra ? 0 : step / a.steps.c_blocks;
    block = is_extra ? step - a.steps.main() : step % a.steps.c_blocks;
    locate();
  }

  HG_DEV bool is_extra() const { return step >= a.steps.main(); }

  // Offsets and tap masks of this thread's pixels in the input that `step` reads.
  HG_DEV void locate() {
    const int kernel = is_extra() ? 1 : a.kernel, pad = is_extra() ? 0 : a.pad;
    const ConvInput<T>& in = is_extra() ? a.extra : a.input;
#pragma unroll
    for (int i = 0; i < kRowsA; ++i) {
      const int pixel = m0 + row + i * kRowStep, line = pixel / a.q;
      const int x0 = pixel % a.q * in.stride - pad, y0 = line % a.p * in.stride - pad;
      offset[i] = ((line / a.p * in.h + y0) * in.w + x0) * in.c;
      taps[i] = 0;
      if (pixel < a.pixels) {
#pragma unroll 1
        for (int t = 0; t < kernel * kernel; ++t) {
          const int y = y0 + t / kernel, x = x0 + t % kernel;
          taps[i] |= static_cast<uint32_t>(y >= 0 && y < in.h && x >= 0 && x < in.w) << t;
        }
      }
    }
  }

  // One chunk of a pixel whose channels are no multiple of 16 bytes, or do not start at one.
  HG_DEV void gather(unsigned char* to, const T* from, int count) const {
    struct alignas(16) {
      T v[kChunkK<T>];
    } values;
#pragma unroll
    for (int e = 0; e < kChunkK<T>; ++e) values.v[e] = e < count ? from[e] : from_float<T>(0.f);
    *reinterpret_cast<decltype(values)*>(to) = values;
  }

  // Issues the copies of the next step into a stage.
  HG_DEV void load(unsigned char* stage) {
    const ConvInput<T>& in = is_extra() ? a.extra : a.input;
    const int kernel = is_extra() ? 1 : a.kernel;
    const int channel = block * kBlockK<T> + chunk * kChunkK<T>;
    const T* from = in.x + (tap / kernel * in.w + tap % kernel) * in.c + channel;
    const uint32_t stage_a = ptx::smem_u32(stage), stage_b = stage_a + Tile::kTileM * kRowBytes;
#pragma unroll
    for (int i = 0; i < kRowsA; ++i) {
      const bool valid = (taps[i] >> tap & 1) != 0 && channel < in.c;
      const uint32_t at = swizzled(row + i * kRowStep, chunk);
      if (in.vectors)
        ptx::cp_async16(stage_a + at, valid ? from + offset[i] : in.x, valid ? 16 : 0);
      else
        gather(stage + at, from + offset[i], valid ? in.c - channel : 0);
    }
    const int row_elements = a.steps.total() * kBlockK<T>;
    const T* weights = a.weight + step * kBlockK<T> + chunk * kChunkK<T>;
#pragma unroll
    for (int i = 0; i < kRowsB; ++i) {
      const int r = row + i * kRowStep;
      const bool valid = n0 + r < a.k;
      ptx::cp_async16(stage_b + swizzled(r, chunk), valid ? weights + (n0 + r) * row_elements : a.weight,
                      valid ? 16 : 0);
    }
    advance();
  }

  HG_DEV void advance() {
    ++step;
    if (step == a.steps.main()) {
      tap = block = 0;
      locate();
    } else if (++block == a.steps.c_blocks && !is_extra()) {
      block = 0, ++tap;
    }
  }
};

// acc += the tile's sums over K steps [first, last). The first kStages - 1 rounds only fill the pipeline.
template <class T, class Tile, int kI, int kJ>
HG_DEV void conv_mma_mainloop(const ConvArgs<T>& a, unsigned char* smem, int first, int last, int row_a, int row_b,
                              int lane, float (&acc)[kI][kJ][4]) {
  constexpr int kAhead = Tile::kStages - 1;
  ConvLoader<T, Tile> loader(a, blockIdx.y, blockIdx.x, first);
  int read = 0, write = 0;  // bytes from smem
  auto next = [](int& stage) { stage = stage == kAhead * Tile::kStageBytes ? 0 : stage + Tile::kStageBytes; };
#pragma unroll 1
  for (int step = first - kAhead; step < last; ++step) {
    if (step >= first) {
      ptx::cp_async_wait<kAhead - 1>();
      __syncthreads();
    }
    if (step + kAhead < last) loader.load(smem + write);
    ptx::cp_async_commit();
    next(write);
    if (step >= first) {
      const uint32_t tile = ptx::smem_u32(smem) + read;
      multiply_tiles<T, Tile::kExact>(acc, tile, row_a, tile + Tile::kTileM * kRowBytes, row_b, lane);
      next(read);
    }
  }
  ptx::cp_async_wait<0>();
  __syncthreads();
}

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kMinBlocks)
    conv_mma_kernel(const __grid_constant__ ConvArgs<T> a) {
  constexpr int kI = Tile::kWarpM / 16, kJ = Tile::kWarpN / 8, kWarpsM = Tile::kTileM / Tile::kWarpM;
  HG_DYN_SMEM(smem, kSwizzleAlignment);
  HG_SHARED(uint32_t, flag, 1);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row_a = warp % kWarpsM * Tile::kWarpM, row_b = warp / kWarpsM * Tile::kWarpN;
  const int first = blockIdx.z * a.split.steps_per_split;
  const int last = min(first + a.split.steps_per_split, a.steps.total());
  float acc[kI][kJ][4] = {};
  conv_mma_mainloop<T, Tile>(a, smem, first, last, row_a, row_b, lane, acc);

  const int m0 = blockIdx.y * Tile::kTileM + row_a, n0 = blockIdx.x * Tile::kTileN + row_b;
  auto& rows = reinterpret_cast<float (&)[kI][kJ * 4]>(acc);
  if (a.split.splits > 1) {
    const bool finish = reduce_splits<kI, kJ * 4, Tile::kThreads>(
        rows, a.split, blockIdx.y * gridDim.x + blockIdx.x, blockIdx.z, threadIdx.x, flag,
        [&](int i) { return m0 + 16 * i < a.pixels && n0 < a.k; }, [] { __syncthreads(); });
    if (!finish) return;
  }
  float* slab = reinterpret_cast<float*>(smem) + warp * kSlabFloats<Tile::kWarpM, Tile::kWarpN>;
#pragma unroll
  for (int i = 0; i < kI; ++i) stage_rows<Tile::kWarpN>(slab + i * kSlabFloats<16, Tile::kWarpN>, rows[i], lane);
  __syncwarp();
#pragma unroll 1
  for (int i = 0; i < kI; ++i)
    finish_rows<Tile::kWarpN, Tile::kBatch>(
        a.epilogue, slab + i * kSlabFloats<16, Tile::kWarpN>, n0, lane,
        [&](int row) {
          const int pixel = m0 + 16 * i + row;
          return pixel < a.pixels ? pixel : -1;
        },
        AddNothing());
}

template <class T, class Tile>
void launch_conv_mma(const Conv& a, const ConvChoice& choice, Exec stream) {
  static_assert(Tile::kTileM == conv_tile(Tile::kKernel).m && Tile::kTileN == conv_tile(Tile::kKernel).n &&
                Tile::kSmemBytes == conv_tile(Tile::kKernel).smem_bytes &&
                Tile::kThreads == conv_tile(Tile::kKernel).threads);
  const ConvArgs<T> args = make_conv_args<T>(a, choice);
  const dim3 grid(static_cast<unsigned>(ceil_div(args.k, Tile::kTileN)),
                  static_cast<unsigned>(ceil_div(args.pixels, Tile::kTileM)), static_cast<unsigned>(args.split.splits));
  launch(conv_mma_kernel<T, Tile>, grid, dim3(Tile::kThreads), Tile::kSmemBytes, stream, args);
}

template <class T, bool kExact>
void run_mma_tile(const Conv& a, const ConvChoice& choice, Exec stream) {
  if constexpr (!kExact) {  // its accumulators leave no registers for split operands
    if (choice.kernel == ConvKernel::kMma256x128)
      return launch_conv_mma<T, MmaTile<ConvKernel::kMma256x128, 256, 128, 64, 64, 3, 1, false>>(a, choice, stream);
  }
  switch (choice.kernel) {
    case ConvKernel::kMma128x64:
      return launch_conv_mma<T, MmaTile<ConvKernel::kMma128x64, 128, 64, 64, 32, 3, 2, kExact>>(a, choice, stream);
    case ConvKernel::kMma64x64:
      return launch_conv_mma<T, MmaTile<ConvKernel::kMma64x64, 64, 64, 32, 32, 4, 2, kExact>>(a, choice, stream);
    case ConvKernel::kMma64x32:
      return launch_conv_mma<T, MmaTile<ConvKernel::kMma64x32, 64, 32, 16, 32, 4, 3, kExact>>(a, choice, stream);
    default:
      fail_value("conv: kernel ", static_cast<int>(choice.kernel), " is none of mma.sync");
  }
}

template <class T>
void run_conv_mma(const Conv& a, const ConvChoice& choice, Exec stream) {
  if constexpr (std::is_same_v<T, float>) {
    if (is_exact(a.shape)) return run_mma_tile<T, true>(a, choice, stream);
  }
  run_mma_tile<T, false>(a, choice, stream);
}

}  // namespace hgfast::cuda
