// Convolution as implicit GEMM on Hopper (sm_90a): TMA, mbarrier rings, wgmma; 1x1 and 3x3, stride 1 and 2, with the
// extra 1x1 input as further K, split-K, and all epilogues of cuda/conv_epilogue.cuh.
//
// GEMM and packed weights as in cuda/conv_mma.cuh. A block is persistent: it takes every gridDim-th item (output tile,
// part of K). Tile: a box of 128 result pixels (cuda/conv_wgmma_args.cuh) x kN output channels; two consumer warpgroups
// compute 64 pixels each (wgmma m64 kN k16, accumulators in registers); a producer warp copies ahead, also across
// items, so that the next item's operands arrive while the epilogue runs. Input copies: 4-d boxes, hardware zeros
// beyond the picture; of strided inputs im2col runs, mostly the whole tile (maps with element strides are a use of TMA
// that no kernel known to be right makes). For a 3x3 filter of stride 1 a copy also brings the lines above and below,
// and the three taps of a filter column read it at three start addresses: 0.42 of the traffic from L2 of one copy per
// tap. Weights: kN rows x 128 bytes a step, in a ring of their own. The residual follows in the ring of the input, 64
// channels a copy, so that the epilogue finds it in shared memory. FLOPs: 2 n p q k (kernel^2 c + extra_c). L2 to
// shared memory per step of a 128 x 256 tile: 32 KB weights + 6.7 KB input per 2.1 MFMA, 38 bytes a cycle at the full
// wgmma rate. Limits: half types; C, extra C multiples of 8; slices below 2^31 elements. Status: compiled and run under
// the host emulator; not yet run on a GPU.
#pragma once

#include "cuda/conv_wgmma_args.cuh"

namespace hgfast::cuda {

template <int N, int StagesA, int StagesB>
struct WgmmaTile {
  static constexpr int kN = N, kStagesA = StagesA, kStagesB = StagesB;
  static constexpr int kConsumers = 2, kThreads = 128 * (kConsumers + 1), kConsumerThreads = 128 * kConsumers;
  static constexpr int kBytesA = kWgmmaMaxRows * kRowBytes, kBytesB = N * kRowBytes;
  static constexpr int kColumns = 64;              // that a warp finishes at a time
  static constexpr int kBatch = N == 256 ? 1 : 2;  // the epilogue's vectors in flight per lane: registers
  static constexpr int kSlabBytes = kSlabFloats<16, kColumns> * 4;
  static constexpr int kSmemBytes = StagesA * kBytesA + StagesB * kBytesB + 4 * kConsumers * kSlabBytes;
  static_assert(kBytesA % kSwizzleAlignment == 0 && kBytesB % kSwizzleAlignment == 0);
  static_assert(kSmemBytes <= 226 * 1024, "a Hopper block has 227 KB, 1 KB of them goes to the barriers");
};

// The consumer's or the producer's place in a ring of stages: `full` and `empty` are the shared addresses of its
// mbarriers.
template <int kStages>
struct Ring {
  uint32_t full, empty;
  int stage = 0;
  uint32_t parity = 0;

  HG_DEV Ring(uint64_t* full_barriers, uint64_t* empty_barriers)
      : full(ptx::smem_u32(full_barriers)), empty(ptx::smem_u32(empty_barriers)) {}
  HG_DEV uint32_t full_barrier() const { return full + 8 * stage; }
  HG_DEV uint32_t empty_barrier() const { return empty + 8 * stage; }
  HG_DEV void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

// One item of work: an output tile and a range of the input copies that make up K.
struct WgmmaItem {
  int tile, split, k0, x0, y0, n0, first, last;

  template <class T>
  HG_DEV WgmmaItem(const WgmmaArgs<T>& a, int item, int tile_n) {
    split = item % a.split.splits, tile = item / a.split.splits;
    const int box = tile / a.tiles_k, column = box % a.box.tiles_x(), rest = box / a.box.tiles_x();
    k0 = tile % a.tiles_k * tile_n;
    x0 = column << a.box.x_log2;
    y0 = rest % a.box.tiles_y() << a.box.y_log2;
    n0 = rest / a.box.tiles_y() << a.box.n_log2;
    first = split * a.split.steps_per_split;
    last = min(first + a.split.steps_per_split, a.copies());
  }
};

// Copies what one tap, (dx, dy), of a strided filter reads for a tile: run by run. Rows beyond the result get any
// pixels of the input, as nobody keeps their sums.
template <class T>
HG_DEV void load_strided(uint32_t destination, const ptx::TensorMap* map, uint32_t barrier, int c, const PixelBox& box,
                         const WgmmaItem& item, int stride, int pad, int dx, int dy) {
#pragma unroll 1
  for (int row = 0; row < kWgmmaTileM; row += box.run()) {
    int x = item.x0 + (row & (box.columns() - 1)), y = item.y0 + (row >> box.x_log2 & (box.lines() - 1));
    int n = item.n0 + (row >> (box.x_log2 + box.y_log2));
    if (x >= box.q || y >= box.p || n >= box.n) x = y = n = 0;
    ptx::tma_load_im2col(destination + row * kRowBytes, map, barrier, c, x * stride - pad, y * stride - pad, n, dx, dy);
  }
}

template <class T, class Tile>
HG_DEV void produce(const WgmmaArgs<T>& a, uint32_t smem, Ring<Tile::kStagesA> ring_a, Ring<Tile::kStagesB> ring_b) {
  const uint32_t smem_b = smem + Tile::kStagesA * Tile::kBytesA;
  const int pad = a.kernel / 2, main_copies = a.main_copies();
  auto load_weights = [&](int step, int k0) {
    ptx::mbarrier_wait(ring_b.empty_barrier(), ring_b.parity ^ 1, a.fault);
    ptx::mbarrier_arrive_expect_tx(ring_b.full_barrier(), Tile::kBytesB);
    ptx::tma_load(smem_b + ring_b.stage * Tile::kBytesB, &a.weight, ring_b.full_barrier(), step * kBlockK<T>, k0);
    ring_b.advance();
  };
  for (int i = blockIdx.x; i < a.items(); i += gridDim.x) {
    const WgmmaItem item(a, i, Tile::kN);
    for (int copy = item.first; copy < item.last; ++copy) {
      const bool is_extra = copy >= main_copies;
      const int group = copy / a.steps.c_blocks, block = is_extra ? copy - main_copies : copy % a.steps.c_blocks;
      // group: the filter column with reuse, else the tap; taps are numbered by rows
      const int dx = a.box.reuse ? group : group % a.kernel, dy = a.box.reuse ? 0 : group / a.kernel;
      const int rows = is_extra ? kWgmmaTileM : a.box.copied_rows();
      const uint32_t destination = smem + ring_a.stage * Tile::kBytesA, barrier = ring_a.full_barrier();
      ptx::mbarrier_wait(ring_a.empty_barrier(), ring_a.parity ^ 1, a.fault);
      ptx::mbarrier_arrive_expect_tx(barrier, rows * kRowBytes);
      const ptx::TensorMap* map = is_extra ? &a.extra : &a.x;
      const int stride = is_extra ? a.extra_stride : a.stride, c = block * kBlockK<T>;
      if (stride > 1)
        load_strided<T>(destination, map, barrier, c, a.box, item, stride, is_extra ? 0 : pad, is_extra ? 0 : dx,
                        is_extra ? 0 : dy);
      else if (is_extra)
        ptx::tma_load(destination, map, barrier, c, item.x0, item.y0, item.n0);
      else
        ptx::tma_load(destination, map, barrier, c, item.x0 + dx - pad, item.y0 + dy - pad, item.n0);
      ring_a.advance();
      const int taps = is_extra ? 1 : a.taps_per_copy();
      for (int t = 0; t < taps; ++t)
        load_weights(is_extra ? a.steps.main() + block : (dx + (dy + t) * a.kernel) * a.steps.c_blocks + block,
                     item.k0);
    }
    for (int part = 0; part < a.residual_copies; ++part) {
      ptx::mbarrier_wait(ring_a.empty_barrier(), ring_a.parity ^ 1, a.fault);
      ptx::mbarrier_arrive_expect_tx(ring_a.full_barrier(), kWgmmaTileM * kRowBytes);
      ptx::tma_load(smem + ring_a.stage * Tile::kBytesA, &a.residual, ring_a.full_barrier(),
                    item.k0 + part * kBlockK<T>, item.x0, item.y0, item.n0);
      ring_a.advance();
    }
  }
}

// d (+)= 64 pixels x kN channels over 128 bytes of K.
template <class T, int kN>
HG_DEV void multiply_step(float (&d)[kN / 2], uint32_t tile_a, uint32_t tile_b, bool accumulate) {
  auto descriptor = [](uint32_t address) {
    return ptx::make_smem_descriptor(address, 16, kSwizzleAlignment, ptx::Swizzle::k128);
  };
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < kRowBytes / 32; ++i)
    ptx::wgmma<T, kN>(d, descriptor(tile_a + 32 * i), descriptor(tile_b + 32 * i), accumulate || i > 0);
  ptx::wgmma_commit();
}

// Sums an item into d. A stage is released when the step after the last that reads it has been issued.
template <class T, class Tile>
HG_DEV void accumulate_item(const WgmmaArgs<T>& a, const WgmmaItem& item, uint32_t smem, int group, bool leader,
                            Ring<Tile::kStagesA>& ring_a, Ring<Tile::kStagesB>& ring_b, float (&d)[Tile::kN / 2]) {
  const uint32_t smem_b = smem + Tile::kStagesA * Tile::kBytesA;
  const int main_copies = a.main_copies();
  uint32_t release_a = 0, release_b = 0;  // barriers of stages that the step in flight reads; 0: none
  auto release = [&](uint32_t barrier) {
    if (leader && barrier != 0) ptx::mbarrier_arrive(barrier);
  };
  for (int copy = item.first; copy < item.last; ++copy) {
    const bool is_extra = copy >= main_copies;
    const int taps = is_extra ? 1 : a.taps_per_copy(), half_rows = is_extra ? 64 : a.box.half_rows();
    const uint32_t tile_a = smem + ring_a.stage * Tile::kBytesA + group * half_rows * kRowBytes;
    ptx::mbarrier_wait(ring_a.full_barrier(), ring_a.parity, a.fault);
    for (int t = 0; t < taps; ++t) {
      ptx::mbarrier_wait(ring_b.full_barrier(), ring_b.parity, a.fault);
      multiply_step<T, Tile::kN>(d, tile_a + t * (kRowBytes << a.box.x_log2), smem_b + ring_b.stage * Tile::kBytesB,
                                 copy > item.first || t > 0);
      ptx::wgmma_wait<1>(d);
      release(release_b);
      if (t == 0) release(release_a);
      release_b = ring_b.empty_barrier();
      ring_b.advance();
    }
    release_a = ring_a.empty_barrier();
    ring_a.advance();
  }
  ptx::wgmma_wait<0>(d);
  release(release_b);
  release(release_a);
}

// The epilogue of an item; `smem` holds residual copies in the stages of ring_a if a.residual_copies > 0.
template <class T, class Tile>
HG_DEV void finish_item(const WgmmaArgs<T>& a, const WgmmaItem& item, const unsigned char* smem, float* slab, int row0,
                        int lane, Ring<Tile::kStagesA>& ring_a, const float (&d)[Tile::kN / 2]) {
  static_assert(Tile::kColumns == kBlockK<T>, "a residual copy has the columns that a warp finishes at a time");
  const PixelBox& box = a.box;
  auto pixel_of = [&](int row) {
    const int r = row0 + row, x = item.x0 + (r & (box.columns() - 1));
    const int y = item.y0 + (r >> box.x_log2 & (box.lines() - 1)), n = item.n0 + (r >> (box.x_log2 + box.y_log2));
    return x < box.q && y < box.p && n < box.n ? (n * box.p + y) * box.q + x : -1;
  };
  const bool residual = a.residual_copies > 0;
#pragma unroll 1
  for (int part = 0; part < Tile::kN / Tile::kColumns; ++part) {
#pragma unroll
    for (int i = 0; i < Tile::kN / Tile::kColumns; ++i)
      if (i == part) stage_rows<Tile::kColumns>(slab, d + i * (Tile::kColumns / 2), lane);
    __syncwarp();
    if (residual) ptx::mbarrier_wait(ring_a.full_barrier(), ring_a.parity, a.fault);
    const unsigned char* copy = smem + ring_a.stage * Tile::kBytesA;
    finish_rows<Tile::kColumns, Tile::kBatch>(
        a.epilogue, slab, item.k0 + part * Tile::kColumns, lane, pixel_of,
        [&](int row, int column, float (&v)[kVector]) {
          using Vector = typename ChannelAccess<T>::Vector;
          if (!residual) return;
          const Vector r = *reinterpret_cast<const Vector*>(copy + swizzled(row0 + row, column / kVector));
#pragma unroll
          for (int i = 0; i < kVector; ++i) v[i] += to_float(r.v[i]);
        });
    __syncwarp();
    if (!residual) continue;
    if (lane == 0) ptx::mbarrier_arrive(ring_a.empty_barrier());
    ring_a.advance();
  }
}

template <class T, class Tile>
HG_DEV void consume(const WgmmaArgs<T>& a, unsigned char* smem, float* slabs, uint32_t* flag,
                    Ring<Tile::kStagesA> ring_a, Ring<Tile::kStagesB> ring_b) {
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  float d[Tile::kN / 2];
  for (int i = blockIdx.x; i < a.items(); i += gridDim.x) {
    const WgmmaItem item(a, i, Tile::kN);
    accumulate_item<T, Tile>(a, item, ptx::smem_u32(smem), warp / 4, lane == 0, ring_a, ring_b, d);
    if (a.split.splits > 1) {
      const bool finish = reduce_splits<1, Tile::kN / 2, Tile::kConsumerThreads>(
          reinterpret_cast<float (&)[1][Tile::kN / 2]>(d), a.split, item.tile, item.split, thread, flag,
          [](int) { return true; }, [] { ptx::named_barrier_sync(1, Tile::kConsumerThreads); });
      if (!finish) continue;
    }
    finish_item<T, Tile>(a, item, smem, slabs + warp * kSlabFloats<16, Tile::kColumns>, 16 * warp, lane, ring_a, d);
  }
}

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1) conv_wgmma_kernel(const __grid_constant__ WgmmaArgs<T> a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(HGFAST_EMULATOR)
  HG_DYN_SMEM(smem, kSwizzleAlignment);
  HG_SHARED(uint64_t, full_a, Tile::kStagesA);
  HG_SHARED(uint64_t, empty_a, Tile::kStagesA);
  HG_SHARED(uint64_t, full_b, Tile::kStagesB);
  HG_SHARED(uint64_t, empty_b, Tile::kStagesB);
  HG_SHARED(uint32_t, flag, 1);
  if (threadIdx.x == 0) {
    constexpr int kConsumerWarps = 4 * Tile::kConsumers;
    for (int i = 0; i < Tile::kStagesA; ++i)
      ptx::mbarrier_init(ptx::smem_u32(&full_a[i]), 1), ptx::mbarrier_init(ptx::smem_u32(&empty_a[i]), kConsumerWarps);
    for (int i = 0; i < Tile::kStagesB; ++i)
      ptx::mbarrier_init(ptx::smem_u32(&full_b[i]), 1), ptx::mbarrier_init(ptx::smem_u32(&empty_b[i]), kConsumerWarps);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  const Ring<Tile::kStagesA> ring_a(full_a, empty_a);
  const Ring<Tile::kStagesB> ring_b(full_b, empty_b);
  if (threadIdx.x >= Tile::kConsumerThreads) {
    ptx::setmaxnreg_dec<40>();
    if (threadIdx.x == Tile::kConsumerThreads) produce<T, Tile>(a, ptx::smem_u32(smem), ring_a, ring_b);
  } else {
    ptx::setmaxnreg_inc<232>();
    float* slabs = reinterpret_cast<float*>(smem + Tile::kStagesA * Tile::kBytesA + Tile::kStagesB * Tile::kBytesB);
    consume<T, Tile>(a, smem, slabs, flag, ring_a, ring_b);
  }
#endif
}

template <class T, ConvKernel kKernel, class Tile>
void launch_conv_wgmma(const Conv& a, const ConvChoice& choice, Exec stream) {
  static_assert(Tile::kSmemBytes == conv_tile(kKernel).smem_bytes && Tile::kThreads == conv_tile(kKernel).threads &&
                Tile::kN == conv_tile(kKernel).n);
  const WgmmaArgs<T> args = make_wgmma_args<T>(a, choice, Tile::kN);
  const int blocks = min(args.items(), current_device().multiprocessors);
  launch(conv_wgmma_kernel<T, Tile>, dim3(static_cast<unsigned>(blocks)), dim3(Tile::kThreads), Tile::kSmemBytes,
         stream, args);
}

template <class T>
void run_conv_wgmma(const Conv& a, const ConvChoice& choice, Exec stream) {
  switch (choice.kernel) {
    case ConvKernel::kWgmma256:
      return launch_conv_wgmma<T, ConvKernel::kWgmma256, WgmmaTile<256, 3, 4>>(a, choice, stream);
    case ConvKernel::kWgmma192:
      return launch_conv_wgmma<T, ConvKernel::kWgmma192, WgmmaTile<192, 4, 4>>(a, choice, stream);
    case ConvKernel::kWgmma128:
      return launch_conv_wgmma<T, ConvKernel::kWgmma128, WgmmaTile<128, 4, 6>>(a, choice, stream);
    case ConvKernel::kWgmma64:
      return launch_conv_wgmma<T, ConvKernel::kWgmma64, WgmmaTile<64, 5, 8>>(a, choice, stream);
    default:
      fail_value("conv: kernel ", static_cast<int>(choice.kernel), " is none of wgmma");
  }
}

}  // namespace hgfast::cuda
