// As broken.cu: rules of mbarriers, bulk copies and wgmma.
#include "cuda/ptx.cuh"
#include "cuda/tensor_map.cuh"
#include "probe.h"

namespace hgfast::cuda {
namespace {

constexpr int kRows = 64, kColumns = 64, kTileBytes = kRows * kColumns * 2;

// `bad` chooses the mistake.
enum MbarrierMistake { kNone, kNoInit, kNoBarrierAfterInit, kTooManyArrivals, kMidPhase, kNeverArrives };

__global__ void mbarrier_kernel(float* out, int bad) {
  HG_SHARED(uint64_t, storage, 1);
  const uint32_t barrier = ptx::smem_u32(storage);
  if (threadIdx.x == 0 && bad != kNoInit) ptx::mbarrier_init(barrier, 32);
  if (bad != kNoBarrierAfterInit) __syncthreads();
  ptx::mbarrier_arrive(barrier);
  if (threadIdx.x == 0 && bad == kTooManyArrivals) {
    ptx::mbarrier_arrive_expect_tx(barrier, 16);  // bytes that never come keep the phase open
    for (int i = 0; i < 40; ++i) ptx::mbarrier_arrive(barrier);
  }
  if (threadIdx.x == 0 && bad == kMidPhase) {
    ptx::mbarrier_wait(barrier, 0);
    ptx::mbarrier_arrive(barrier);
  }
  if (bad == kNeverArrives) ptx::mbarrier_wait(barrier, 1);
  out[threadIdx.x] = 1.0f;
}

// Loads a tile, and loads it again when all have read it.
enum LoadMistake { kReadsEarly = 1, kWrongBytes, kMisplaced, kOverwrites, kReadsUnordered };

__global__ void tma_kernel(const __grid_constant__ ptx::TensorMap map, uint32_t* out, int bad) {
  HG_DYN_SMEM(smem, 1024);
  HG_SHARED(uint64_t, storage, 2);
  const uint32_t full = ptx::smem_u32(storage), empty = full + 8;
  const uint32_t tile = ptx::smem_u32(smem) + (bad == kMisplaced ? 128 : 0);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(full, 1);
    ptx::mbarrier_init(empty, blockDim.x);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  for (int round = 0; round < 2; ++round) {
    if (threadIdx.x == 0) {
      if (round && bad != kOverwrites) ptx::mbarrier_wait(empty, 0);
      ptx::mbarrier_arrive_expect_tx(full, bad == kWrongBytes ? kTileBytes / 2 : kTileBytes);
      ptx::tma_load(tile, &map, full, 0, 0);
    }
    // the first lane's wait does not order the others, though the shuffle makes them come later
    if (bad != kReadsEarly && (bad != kReadsUnordered || threadIdx.x % 32 == 0)) ptx::mbarrier_wait(full, round);
    __shfl_sync(0xffffffffu, round, 0);
    out[threadIdx.x] = reinterpret_cast<uint32_t*>(smem)[threadIdx.x];
    ptx::mbarrier_arrive(empty);
  }
}

enum StoreMistake { kNoProxyFence = 1, kNoBarrier, kOverwritesSource, kNoWait };

__global__ void tma_store_kernel(const __grid_constant__ ptx::TensorMap map, int bad) {
  HG_DYN_SMEM(smem, 1024);
  uint32_t* words = reinterpret_cast<uint32_t*>(smem);
  for (int i = threadIdx.x; i < kTileBytes / 4; i += blockDim.x) words[i] = i;
  if (bad != kNoProxyFence) ptx::fence_proxy_async();
  if (bad != kNoBarrier) __syncthreads();
  if (threadIdx.x == 0) {
    ptx::tma_store(&map, ptx::smem_u32(smem), 0, 0);
    ptx::tma_store_commit();
    if (bad == kOverwritesSource) words[0] = 7;
    if (bad != kNoWait) ptx::tma_store_wait_read<0>();
  }
}

enum ProductMistake { kNoOperandFence = 1, kNoWgmmaFence, kUsesEarly, kNotWaited, kBadBase, kDiverges, kOutside };

__global__ void wgmma_kernel(float* out, int bad) {
  HG_DYN_SMEM(smem, 1024);
  for (int i = threadIdx.x; i < kTileBytes; i += blockDim.x) reinterpret_cast<uint16_t*>(smem)[i] = 0;
  if (bad != kNoOperandFence) ptx::fence_proxy_async();
  __syncthreads();
  float d[32] = {};
  uint32_t a = ptx::smem_u32(smem), b = a + kTileBytes;
  if (bad == kBadBase) a += 128;
  if (bad == kOutside) b += kTileBytes;
  if (bad == kDiverges && threadIdx.x >= 64) a += 1024;
  if (bad != kNoWgmmaFence) ptx::wgmma_fence();
  ptx::wgmma<__half, 64>(d, ptx::make_smem_descriptor(a, 16, 1024, ptx::Swizzle::k128),
                         ptx::make_smem_descriptor(b, 16, 1024, ptx::Swizzle::k128), true);
  ptx::wgmma_commit();
  const float early = bad == kUsesEarly ? d[threadIdx.x % 32] : 0.0f;
  if (bad != kNotWaited) ptx::wgmma_wait<0>(d);
  out[threadIdx.x] = early + 1.0f;
}

enum MapMistake { kBadStride = 1, kBadBox, kTooLarge, kBadSwizzle };

TiledMap matrix(const void* base, int bad) {
  TiledMap m{base, DType::kBFloat16, 2, {kColumns, kRows}, {kColumns * 2}, {kColumns, kRows}, ptx::Swizzle::k128};
  if (bad == kBadStride) m.strides[0] = kColumns * 2 - 8;
  if (bad == kBadBox) m.box[1] = 512;
  if (bad == kTooLarge) m.sizes[1] = kRows + 1;
  if (bad == kBadSwizzle) m.swizzle = ptx::Swizzle::k64;
  return m;
}

}  // namespace

HG_PROBE(mbarrier, (float* out, int bad), mbarrier_kernel, 1, 32, 0, out, bad)
HG_PROBE(tma, (const void* in, uint32_t* out, int bad), tma_kernel, 1, 64, kTileBytes + 1024,
         make_tensor_map(matrix(in, 0)), out, bad)
HG_PROBE(tensor_map, (const void* in, uint32_t* out, int bad), tma_kernel, 1, 64, kTileBytes + 1024,
         make_tensor_map(matrix(in, bad)), out, 0)
HG_PROBE(bulk_store, (void* out, int bad), tma_store_kernel, 1, 64, kTileBytes, make_tensor_map(matrix(out, 0)), bad)
HG_PROBE(wgmma_rules, (float* out, int bad), wgmma_kernel, 1, 128, 2 * kTileBytes, out, bad)

}  // namespace hgfast::cuda
