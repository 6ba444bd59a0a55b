// A whole pre-activation bottleneck in one kernel: BN-ReLU, 1x1, 3x3, 1x1, skip, with the epilogues of
// cuda/conv_epilogue.cuh (merge, second output). See common/bottleneck.h for what it computes. The products are those
// of Tile::Products: mma.sync (sm_80 and newer, cuda/bottleneck_mma.cuh) or wgmma (cuda/bottleneck_wgmma.cuh).
//
// A block of threads computes a tile of result pixels for all channels, in three GEMMs whose operands stay on the chip:
//
//   1. t = ReLU(conv1) on the tile and a ring of one pixel around it (the halo), K = C, from x, which is activated in
//      shared memory by the threads that have copied it. Pixels outside the picture become zeros of t.
//   2. t = ReLU(conv2) on the tile, K = 9 M: ldmatrix reads the rows of t under each tap; no input is copied.
//   3. y = conv3 + x, K = M, in parts of kM output channels.
//
// The weights of all three form one sequence of steps of kM rows x 128 bytes, copied by cp.async one step ahead into
// two stages (with a step of x in GEMM 1), so that the pipeline runs across the GEMMs' borders.
//
// Shared memory: the two stages, then t for the halo tile, [64 channels][row] of 128 bytes, swizzled; conv2's result
// takes its place. 8x16 pixels at 128 channels: 2 x 28 KB (wgmma: 32) + 45 KB, so that two blocks share a
// multiprocessor of sm_90 (one on sm_80).
//
// Bytes: x once, with halo 1.4 times through L2 (8x16), x again for the skip from L2, y once, weights once a block of
// threads through L2. FLOPs: 2 n h w (2 C M + 9 M^2), conv1 rounded up to turns of the warps (1.5 times at 8x16).
//
// Limits: half types; C and M multiples of 8, M up to 128; 16-byte addresses; tensors below 2^31 elements.
// Status: compiled and run under the host emulator; not yet run on a GPU.
#pragma once

#include "cuda/bottleneck_choice.cuh"
#include "cuda/ptx.cuh"

namespace hgfast::cuda {

// Where a block's tile lies.
template <class Tile>
struct BottleneckPlace {
  int image, y0, x0, h, w;

  template <class T>
  HG_DEV explicit BottleneckPlace(const BottleneckArgs<T>& a) : h(a.h), w(a.w) {
    const int line = blockIdx.x / a.tiles_x;
    x0 = blockIdx.x % a.tiles_x * Tile::kTileW, y0 = line % a.tiles_y * Tile::kTileH, image = line / a.tiles_y;
  }
  // Index over (n, h, w), or -1 outside the picture.
  HG_DEV int pixel(int y, int x) const { return y >= 0 && y < h && x >= 0 && x < w ? (image * h + y) * w + x : -1; }
  HG_DEV int tile_pixel(int row) const { return pixel(y0 + row / Tile::kTileW, x0 + row % Tile::kTileW); }
  HG_DEV int halo_pixel(int row) const {
    return row < Tile::kHalo ? pixel(y0 - 1 + row / Tile::kHaloW, x0 - 1 + row % Tile::kHaloW) : -1;
  }
};

// Copies the operands of one step after the other. A thread copies the same 16-byte chunk of every kRowStep-th row.
template <class T, class Tile>
struct BottleneckLoader {
  static constexpr int kRowStep = Tile::kThreads / kChunks;

  const BottleneckArgs<T>& a;
  const BottleneckPlace<Tile>& place;
  unsigned char* stages;
  int row, chunk, first2, first3, end;  // steps where GEMM 2 and 3 begin, and the end

  HG_DEV BottleneckLoader(const BottleneckArgs<T>& args, const BottleneckPlace<Tile>& tile, unsigned char* memory)
      : a(args),
        place(tile),
        stages(memory),
        row(threadIdx.x / kChunks),
        chunk(threadIdx.x % kChunks),
        first2(Tile::kPasses * args.c_blocks),
        first3(first2 + 9 * Tile::kBlocks),
        end(first3 + args.parts * Tile::kBlocks) {}

  HG_DEV unsigned char* stage(int step) const { return stages + step % Tile::kStages * Tile::kStageBytes; }

  // Rows that GEMM 1 reads: those of the halo tile, up to a whole turn of the warps.
  static HG_DEV bool is_used(int halo_row) { return halo_row < Tile::kHaloTurns * Tile::kTurnRows; }

  HG_DEV void load_x(int step) const {
    const uint32_t to = ptx::smem_u32(stage(step));
    const int first_row = step / a.c_blocks * Tile::kPassRows,
              channel = step % a.c_blocks * kBlockK<T> + chunk * kChunkK<T>;
#pragma unroll
    for (int r = row; r < row + Tile::kPassRows; r += kRowStep) {
      if (!is_used(first_row + r)) continue;
      const int pixel = place.halo_pixel(first_row + r);
      const bool valid = pixel >= 0 && channel < a.c;
      ptx::cp_async16(to + swizzled(r, chunk), valid ? a.x + pixel * a.c + channel : a.x, valid ? 16 : 0);
    }
  }

  // Rows of K-step `k_step` of a convolution whose packed rows have `blocks` steps.
  HG_DEV void load_weights(int step, const T* weight, int k_step, int blocks, int first_row, int rows) const {
    const uint32_t to = ptx::smem_u32(stage(step)) + Tile::kBytesX;
    const T* from = weight + k_step * kBlockK<T> + chunk * kChunkK<T>;
#pragma unroll
    for (int r = row; r < row + Tile::kM; r += kRowStep) {
      const bool valid = first_row + r < rows;
      ptx::cp_async16(to + swizzled(r, chunk), valid ? from + (first_row + r) * blocks * kBlockK<T> : weight,
                      valid ? 16 : 0);
    }
  }

  // Issues the copies of a step; there is always a group to wait for.
  HG_DEV void load(int step) const {
    if (step < first2) {
      load_x(step);
      load_weights(step, a.weight[0], step % a.c_blocks, a.c_blocks, 0, a.m);
    } else if (step < first3) {
      load_weights(step, a.weight[1], step - first2, 9 * Tile::kBlocks, 0, a.m);
    } else if (step < end) {
      const int part = (step - first3) / Tile::kBlocks;
      load_weights(step, a.weight[2], (step - first3) % Tile::kBlocks, Tile::kBlocks, part * Tile::kM, a.c);
    }
    ptx::cp_async_commit();
  }

  // x = ReLU(scale1 x + shift1) in shared memory, each thread on the chunks that it has copied.
  HG_DEV void activate(int step) const {
    const ChannelAccess<T> access{a.c, true};
    const int first_row = step / a.c_blocks * Tile::kPassRows;
    const int channel = step % a.c_blocks * kBlockK<T> + chunk * kChunkK<T>;
    if (channel >= a.c) return;
    float scale[kVector], shift[kVector];
    access.load_parameters(a.scale1, channel, scale);
    access.load_parameters(a.shift1, channel, shift);
#pragma unroll
    for (int r = row; r < row + Tile::kPassRows; r += kRowStep) {
      if (!is_used(first_row + r)) continue;
      auto* at = reinterpret_cast<typename ChannelAccess<T>::Vector*>(stage(step) + swizzled(r, chunk));
      auto values = *at;
#pragma unroll
      for (int i = 0; i < kVector; ++i)
        values.v[i] = from_float<T>(Relu<T>::apply(scale[i] * to_float(values.v[i]) + shift[i]));
      *at = values;
    }
  }

  // Waits for a step, issues the next one, gives the stage's address.
  template <bool kActivate>
  HG_DEV uint32_t begin(int step) const {
    ptx::cp_async_wait<0>();
    if (kActivate) activate(step);
    if (Tile::kWgmma) ptx::fence_proxy_async();
    __syncthreads();
    load(step + 1);
    return ptx::smem_u32(stage(step));
  }
};

// A warp's part of each GEMM's result: 16 rows from `row` of every kTurnRows, kColumns columns from `column`.
template <class Tile>
struct BottleneckWarp {
  int lane, row, column;

  HG_DEV BottleneckWarp()
      : lane(threadIdx.x % 32),
        row(threadIdx.x / 32 % Tile::kWarpsM * 16),
        column(threadIdx.x / 32 / Tile::kWarpsM * Tile::kColumns) {}
};

// Writes ReLU(acc + bias) to a warp's rows of t, kRows rows in all, from first_row; zeros where keep(row) says no.
template <class T, class Tile, int kRows, int kI, class Keep>
HG_DEV void store_activations(unsigned char* t, int first_row, const BottleneckWarp<Tile>& warp,
                              const float (&acc)[kI][Tile::kJ][4], const float* bias, int m, const Keep& keep) {
  struct alignas(2 * sizeof(T)) Pair {
    T v[2];
  };
  auto row_of = [&](int i, int half) { return first_row + warp.row + Tile::kTurnRows * i + 8 * half + warp.lane / 4; };
  bool kept[kI][2];
#pragma unroll
  for (int i = 0; i < kI; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) kept[i][half] = keep(row_of(i, half));
#pragma unroll
  for (int j = 0; j < Tile::kJ; ++j) {
    const int channel = warp.column + 8 * j + 2 * (warp.lane % 4);
    const float bias0 = channel < m ? bias[channel] : 0.f, bias1 = channel + 1 < m ? bias[channel + 1] : 0.f;
    unsigned char* block = t + channel / kBlockK<T> * (kRows * kRowBytes) + channel % kChunkK<T> * sizeof(T);
#pragma unroll
    for (int i = 0; i < kI; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float v0 = kept[i][half] ? Relu<T>::apply(acc[i][j][2 * half] + bias0) : 0.f;
        const float v1 = kept[i][half] ? Relu<T>::apply(acc[i][j][2 * half + 1] + bias1) : 0.f;
        const Pair pair = {from_float<T>(v0), from_float<T>(v1)};
        const int row = row_of(i, half);
        if (row < kRows) *reinterpret_cast<Pair*>(block + swizzled(row, channel % kBlockK<T> / kChunkK<T>)) = pair;
      }
  }
}

// A pass of GEMM 1: kI turns of the warps.
template <class T, class Tile, int kI>
HG_DEV void reduce_rows(const BottleneckArgs<T>& a, const BottleneckLoader<T, Tile>& loader, unsigned char* t,
                        int pass) {
  const BottleneckWarp<Tile> warp;
  float acc[kI][Tile::kJ][4] = {};
#pragma unroll 1
  for (int step = pass * a.c_blocks; step < (pass + 1) * a.c_blocks; ++step) {
    const uint32_t stage = loader.template begin<true>(step);
    Tile::Products::template multiply<T>(
        acc, stage, [&](int i) { return warp.row + warp.lane % 16 + Tile::kTurnRows * i; }, stage + Tile::kBytesX,
        warp.column, warp.lane);
  }
  store_activations<T, Tile, Tile::kHalo>(t, pass * Tile::kPassRows, warp, acc, a.bias[0], a.m,
                                          [&](int row) { return loader.place.halo_pixel(row) >= 0; });
}

// GEMM 2: t on the tile, in the place of t on the halo tile.
template <class T, class Tile>
HG_DEV void convolve_tile(const BottleneckArgs<T>& a, const BottleneckLoader<T, Tile>& loader, unsigned char* t) {
  constexpr int kTurnLines = Tile::kTurnRows / Tile::kTileW;
  const BottleneckWarp<Tile> warp;
  const int pixel = warp.row + warp.lane % 16;
  const int corner = pixel / Tile::kTileW * Tile::kHaloW + pixel % Tile::kTileW;
  float acc[Tile::kI][Tile::kJ][4] = {};
#pragma unroll 1
  for (int s = 0; s < 9 * Tile::kBlocks; ++s) {
    const uint32_t stage = loader.template begin<false>(loader.first2 + s);
    const int tap = s / Tile::kBlocks, row = corner + tap / 3 * Tile::kHaloW + tap % 3;
    Tile::Products::template multiply<T>(
        acc, ptx::smem_u32(t) + s % Tile::kBlocks * (Tile::kHalo * kRowBytes),
        [&](int i) { return row + i * kTurnLines * Tile::kHaloW; }, stage + Tile::kBytesX, warp.column, warp.lane);
  }
  __syncthreads();
  store_activations<T, Tile, Tile::kPixels>(t, 0, warp, acc, a.bias[1], a.m, [](int) { return true; });
}

// A part of GEMM 3: kM output channels.
template <class T, class Tile>
HG_DEV void expand_tile(const BottleneckArgs<T>& a, const BottleneckLoader<T, Tile>& loader, const unsigned char* t,
                        int part) {
  constexpr int kSlab = Tile::kSlabColumns, kPieces = Tile::kColumns / kSlab;
  const BottleneckWarp<Tile> warp;
  float* slab = reinterpret_cast<float*>(loader.stages) + threadIdx.x / 32 * kSlabFloats<16, kSlab>;
  float acc[Tile::kI][Tile::kJ][4] = {};
#pragma unroll 1
  for (int block = 0; block < Tile::kBlocks; ++block) {
    const uint32_t stage = loader.template begin<false>(loader.first3 + part * Tile::kBlocks + block);
    Tile::Products::template multiply<T>(
        acc, ptx::smem_u32(t) + block * (Tile::kPixels * kRowBytes),
        [&](int i) { return warp.row + warp.lane % 16 + Tile::kTurnRows * i; }, stage + Tile::kBytesX, warp.column,
        warp.lane);
  }
#pragma unroll 1
  for (int piece = 0; piece < Tile::kI * kPieces; ++piece) {
#pragma unroll
    for (int i = 0; i < Tile::kI * kPieces; ++i)
      if (i == piece) stage_rows<kSlab>(slab, acc[i / kPieces][i % kPieces * (kSlab / 8)], warp.lane);
    __syncwarp();
    const int row0 = warp.row + piece / kPieces * Tile::kTurnRows, channel = part * Tile::kM + warp.column;
    finish_rows<kSlab, 2>(
        a.epilogue, slab, channel + piece % kPieces * kSlab, warp.lane,
        [&](int row) { return loader.place.tile_pixel(row0 + row); }, AddNothing());
    __syncwarp();
  }
}

template <class T, class Tile>
HG_DEV void compute_block(const BottleneckArgs<T>& a, unsigned char* smem) {
  unsigned char* t = smem + Tile::kStages * Tile::kStageBytes;
  const BottleneckPlace<Tile> place(a);
  const BottleneckLoader<T, Tile> loader(a, place, smem);
  loader.load(0);
#pragma unroll 1
  for (int pass = 0; pass < Tile::kPasses - 1; ++pass) reduce_rows<T, Tile, Tile::kPassI>(a, loader, t, pass);
  reduce_rows<T, Tile, Tile::kLastI>(a, loader, t, Tile::kPasses - 1);
  convolve_tile<T, Tile>(a, loader, t);
#pragma unroll 1
  for (int part = 0; part < a.parts; ++part) expand_tile<T, Tile>(a, loader, t, part);
}

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kMinBlocks)
    bottleneck_kernel(const __grid_constant__ BottleneckArgs<T> a) {
  if constexpr (!Tile::kWgmma || HG_SM90A) {
    HG_DYN_SMEM(smem, kSwizzleAlignment);
    compute_block<T, Tile>(a, smem);
  }
}

template <class T, class Tile>
void run_bottleneck(const Bottleneck& a, Exec stream) {
  const BottleneckArgs<T> args = make_bottleneck_args<T, Tile>(a);
  const unsigned blocks = static_cast<unsigned>(a.shape.n * args.tiles_x * args.tiles_y);
  launch(bottleneck_kernel<T, Tile>, dim3(blocks), dim3(Tile::kThreads), Tile::kSmemBytes, stream, args);
}

}  // namespace hgfast::cuda
