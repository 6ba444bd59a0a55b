// Probes of csrc/cuda/ptx/tma.cuh, wgmma.cuh and barrier.cuh. One warpgroup each.
#include "cuda/ptx.cuh"
#include "cuda/tensor_map.cuh"
#include "probe.h"

namespace hgfast::cuda {
namespace {

constexpr int kSmem = 64 << 10;

struct Box {
  int c[4];
  int tap[2];
  int rank, bytes, im2col;
};

// out: the box as it lies in shared memory.
__global__ void tma_load_kernel(const __grid_constant__ ptx::TensorMap map, Box box, uint32_t* out) {
#if HG_SM90A
  HG_DYN_SMEM(smem, 1024);
  HG_SHARED(uint64_t, barrier, 1);
  const uint32_t bar = ptx::smem_u32(barrier), target = ptx::smem_u32(smem);
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&map);
    ptx::mbarrier_init(bar, 1);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::mbarrier_arrive_expect_tx(bar, box.bytes);
    const int* c = box.c;
    if (box.im2col)
      ptx::tma_load_im2col(target, &map, bar, c[0], c[1], c[2], c[3], box.tap[0], box.tap[1]);
    else if (box.rank == 2)
      ptx::tma_load(target, &map, bar, c[0], c[1]);
    else if (box.rank == 3)
      ptx::tma_load(target, &map, bar, c[0], c[1], c[2]);
    else
      ptx::tma_load(target, &map, bar, c[0], c[1], c[2], c[3]);
  }
  ptx::mbarrier_wait(bar, 0);
  for (int i = threadIdx.x; i < box.bytes / 4; i += blockDim.x) out[i] = reinterpret_cast<uint32_t*>(smem)[i];
#endif
}

// in: a box as it lies in shared memory.
__global__ void tma_store_kernel(const __grid_constant__ ptx::TensorMap map, Box box, const uint32_t* in) {
#if HG_SM90A
  HG_DYN_SMEM(smem, 1024);
  for (int i = threadIdx.x; i < box.bytes / 4; i += blockDim.x) reinterpret_cast<uint32_t*>(smem)[i] = in[i];
  ptx::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    const int* c = box.c;
    if (box.rank == 2)
      ptx::tma_store(&map, ptx::smem_u32(smem), c[0], c[1]);
    else if (box.rank == 3)
      ptx::tma_store(&map, ptx::smem_u32(smem), c[0], c[1], c[2]);
    else
      ptx::tma_store(&map, ptx::smem_u32(smem), c[0], c[1], c[2], c[3]);
    ptx::tma_store_commit();
    ptx::tma_store_wait_read<0>();
    ptx::tma_store_wait<0>();
  }
#endif
}

// d (64 x kN) = a (64x16) * b (kN x 16) + d, operands given as they lie in shared memory: a and b begin at their
// offsets. Registers of A come from a_fragments where that is given. d is stored as each thread's registers.
template <class T, int kN>
__global__ void __launch_bounds__(128)
    wgmma_kernel(const uint32_t* operands, int words, int a_offset, int b_offset, int stride, int leading, int swizzle,
                 const uint32_t* a_fragments, int accumulate, float* d) {
#if HG_SM90A
  HG_DYN_SMEM(smem, 1024);
  const int t = threadIdx.x;
  for (int i = t; i < words; i += blockDim.x) reinterpret_cast<uint32_t*>(smem)[i] = operands[i];
  ptx::fence_proxy_async();
  __syncthreads();
  float acc[kN / 2];
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) acc[i] = d[t * (kN / 2) + i];
  const auto mode = static_cast<ptx::Swizzle>(swizzle);
  const uint32_t base = ptx::smem_u32(smem);
  const uint64_t b = ptx::make_smem_descriptor(base + b_offset, leading, stride, mode);
  ptx::wgmma_fence();
  if (a_fragments) {
    uint32_t a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = a_fragments[t * 4 + i];
    ptx::wgmma<T, kN>(acc, a, b, accumulate != 0);
  } else {
    ptx::wgmma<T, kN>(acc, ptx::make_smem_descriptor(base + a_offset, leading, stride, mode), b, accumulate != 0);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>(acc);
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) d[t * (kN / 2) + i] = acc[i];
#endif
}

// Warp 0 fills a two-slot ring, warps 1-4 read it: mbarriers of both directions, named barrier among the readers.
__global__ void __launch_bounds__(160) ring_kernel(const uint32_t* in, uint32_t* out, int steps) {
#if HG_SM90A
  HG_SHARED(uint32_t, slots, 2 * 32);
  HG_SHARED(uint64_t, full, 2);
  HG_SHARED(uint64_t, empty, 2);
  HG_SHARED(uint32_t, sums, 4);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (threadIdx.x == 0) {
    for (int s = 0; s < 2; ++s) {
      ptx::mbarrier_init(ptx::smem_u32(&full[s]), 32);
      ptx::mbarrier_init(ptx::smem_u32(&empty[s]), 4);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (warp == 4) {
    ptx::setmaxnreg_dec<24>();
    for (int i = 0; i < steps; ++i) {
      ptx::mbarrier_wait(ptx::smem_u32(&empty[i % 2]), (i / 2 + 1) & 1);
      slots[i % 2 * 32 + lane] = in[i * 32 + lane];
      ptx::mbarrier_arrive(ptx::smem_u32(&full[i % 2]));
    }
  } else {
    uint32_t sum = 0;
    for (int i = 0; i < steps; ++i) {
      ptx::mbarrier_wait(ptx::smem_u32(&full[i % 2]), (i / 2) & 1);
      sum += slots[i % 2 * 32 + (lane + warp) % 32];
      __syncwarp();
      if (lane == 0) ptx::mbarrier_arrive(ptx::smem_u32(&empty[i % 2]));
    }
    if (lane == 0) sums[warp] = sum;
    ptx::named_barrier_sync(1, 128);
    if (warp == 0) out[lane] = sums[lane % 4];
  }
#endif
}

// A thread of the second block waits for a phase that nobody ends.
__global__ void wait_kernel(WaitFault* fault) {
#if HG_SM90A
  HG_SHARED(uint64_t, barriers, 2);
  const uint32_t bar = ptx::smem_u32(&barriers[1]);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(bar, 1);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (blockIdx.x == 1 && threadIdx.x == 33) ptx::mbarrier_wait(bar, 0, fault);
#endif
}

TiledMap tiled(const void* base, const int* sizes, const int* box, int rank, int swizzle) {
  TiledMap m{base, DType::kBFloat16, rank, {}, {}, {}, static_cast<ptx::Swizzle>(swizzle)};
  uint64_t stride = 2;
  for (int i = 0; i < rank; ++i) {
    m.sizes[i] = sizes[i], m.box[i] = box[i];
    stride *= sizes[i];
    if (i + 1 < rank) m.strides[i] = stride;
  }
  return m;
}

}  // namespace

HG_PROBE_EXPORT int probe_tma_load(const void* in, uint32_t* out, const int* sizes, const int* box, const int* at,
                                   int rank, int swizzle, int bytes) {
  return run_probe([&] {
    Box b{{}, {}, rank, bytes, 0};
    for (int i = 0; i < rank; ++i) b.c[i] = at[i];
    launch(tma_load_kernel, dim3(1), dim3(128), kSmem, 0, make_tensor_map(tiled(in, sizes, box, rank, swizzle)), b,
           out);
  });
}

// at: c, w, h, n, tap w, tap h. corners: lower w, h, upper w, h.
HG_PROBE_EXPORT int probe_tma_im2col(const void* in, uint32_t* out, const int* sizes, const int* corners, int channels,
                                     int pixels, int stride, const int* at, int swizzle, int bytes) {
  return run_probe([&] {
    const uint64_t c = sizes[0], w = sizes[1], h = sizes[2], n = sizes[3];
    const Im2colMap m{in,
                      DType::kBFloat16,
                      {c, w, h, n},
                      {2 * c, 2 * c * w, 2 * c * w * h},
                      {corners[0], corners[1]},
                      {corners[2], corners[3]},
                      static_cast<uint32_t>(channels),
                      static_cast<uint32_t>(pixels),
                      static_cast<uint32_t>(stride),
                      static_cast<ptx::Swizzle>(swizzle)};
    const Box b{{at[0], at[1], at[2], at[3]}, {at[4], at[5]}, 4, bytes, 1};
    launch(tma_load_kernel, dim3(1), dim3(128), kSmem, 0, make_tensor_map(m), b, out);
  });
}

HG_PROBE_EXPORT int probe_tma_store(void* out, const uint32_t* in, const int* sizes, const int* box, const int* at,
                                    int rank, int swizzle, int bytes) {
  return run_probe([&] {
    Box b{{}, {}, rank, bytes, 0};
    for (int i = 0; i < rank; ++i) b.c[i] = at[i];
    launch(tma_store_kernel, dim3(1), dim3(128), kSmem, 0, make_tensor_map(tiled(out, sizes, box, rank, swizzle)), b,
           in);
  });
}

#define HG_WGMMA_PROBE(NAME, T, N)                                                                                 \
  HG_PROBE(wgmma_##NAME##_##N,                                                                                     \
           (const uint32_t* operands, int words, int a_offset, int b_offset, int stride, int leading, int swizzle, \
            const uint32_t* a_fragments, int accumulate, float* d),                                                \
           (wgmma_kernel<T, N>), 1, 128, kSmem, operands, words, a_offset, b_offset, stride, leading, swizzle,     \
           a_fragments, accumulate, d)
HG_WGMMA_PROBE(half, __half, 64)
HG_WGMMA_PROBE(half, __half, 96)
HG_WGMMA_PROBE(half, __half, 128)
HG_WGMMA_PROBE(half, __half, 192)
HG_WGMMA_PROBE(half, __half, 256)
HG_WGMMA_PROBE(bfloat16, __nv_bfloat16, 64)
HG_WGMMA_PROBE(bfloat16, __nv_bfloat16, 256)
HG_PROBE(ring, (const uint32_t* in, uint32_t* out, int steps), ring_kernel, 1, 160, 0, in, out, steps)
HG_PROBE(wait, (), wait_kernel, 2, 64, 0, wait_fault())

}  // namespace hgfast::cuda
