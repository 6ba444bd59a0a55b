// Kernels that break one rule if `bad` is set, and keep it otherwise: tests/test_emulator.py wants each found.
#include "cuda/pack.cuh"
#include "cuda/ptx.cuh"
#include "probe.h"

namespace hgfast::cuda {
namespace {

__global__ void global_write_kernel(float* out, int bad) { out[threadIdx.x + bad] = 1.0f; }

__global__ void global_read_kernel(const float* in, float* out, int bad) {
  out[threadIdx.x] = in[static_cast<int>(threadIdx.x) - bad];
}

__global__ void input_write_kernel(float* in, float* out, int bad) { (bad ? in : out)[threadIdx.x] = 1.0f; }

__global__ void null_pointer_kernel(float* out, const float* absent, int bad) {
  out[threadIdx.x] = bad ? absent[threadIdx.x] : 0.0f;
}

__global__ void misaligned_kernel(float* out, int bad) {
  reinterpret_cast<Pack<float, 4>*>(out + bad)[0] = Pack<float, 4>{};
}

__global__ void unwritten_output_kernel(float* out, int bad) {
  out[threadIdx.x] = bad ? out[threadIdx.x] + 1.0f : 1.0f;
}

__global__ void shared_bounds_kernel(float* out, int bad) {
  HG_SHARED(float, tile, 32);
  float* cell = tile + threadIdx.x;
  cell[bad] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = threadIdx.x ? tile[threadIdx.x] : 0.0f;
}

__global__ void dynamic_bounds_kernel(float* out, int bad) {
  HG_DYN_SMEM(smem, 16);
  float* tile = reinterpret_cast<float*>(smem);
  tile[threadIdx.x + bad] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = threadIdx.x ? tile[threadIdx.x] : 0.0f;
}

__global__ void unwritten_shared_kernel(float* out, int bad) {
  HG_SHARED(float, tile, 32);
  if (threadIdx.x < 32 - bad) tile[threadIdx.x] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x];
}

// A barrier between a write and a read of it by another warp.
__global__ void block_race_kernel(float* out, int bad) {
  HG_SHARED(float, tile, 64);
  tile[threadIdx.x] = 1.0f;
  if (!bad) __syncthreads();
  out[threadIdx.x] = tile[63 - threadIdx.x];
}

// The same within a warp; a shuffle in between orders nothing.
__global__ void warp_race_kernel(float* out, int bad) {
  HG_SHARED(float, tile, 32);
  tile[threadIdx.x] = 1.0f;
  const float scale = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
  if (!bad) __syncwarp();
  out[threadIdx.x] = tile[31 - threadIdx.x] * scale;
}

// A barrier between a read and a later write by another warp.
__global__ void overwrite_race_kernel(float* out, int bad) {
  HG_SHARED(float, tile, 64);
  tile[threadIdx.x] = 1.0f;
  __syncthreads();
  const float value = tile[63 - threadIdx.x];
  if (!bad) __syncthreads();
  tile[threadIdx.x] = 2.0f;
  out[threadIdx.x] = value;
}

__global__ void shared_atomic_kernel(int* out, int bad) {
  HG_SHARED(int, count, 1);
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  atomicAdd(count, 1);
  if (!bad) __syncthreads();
  out[threadIdx.x] = count[0];
}

__global__ void divergent_barrier_kernel(float* out, int bad) {
  if (bad && threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
  out[threadIdx.x] = 1.0f;
}

__global__ void named_barrier_kernel(float* out, int bad) {
  if (threadIdx.x < (bad ? 32 : 64)) ptx::named_barrier_sync(1, 64);
  out[threadIdx.x] = 1.0f;
}

__global__ void shuffle_mask_kernel(float* out, int bad) {
  const unsigned mask = bad ? 0xffffu : 0xffffffffu;
  out[threadIdx.x] = threadIdx.x < 16 || !bad ? __shfl_xor_sync(mask, 1.0f, 16) : 0.0f;
}

__global__ void early_exit_kernel(float* out, int bad) {
  if (bad && threadIdx.x > 7) return;
  out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}

__global__ void partial_warp_mma_kernel(float* out, int bad) {
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (!bad || threadIdx.x < 16) ptx::mma_m16n8k16<__half>(d, a, b);
  out[threadIdx.x] = d[0];
}

__attribute__((noinline)) float recurse(int depth) {
  volatile float frame[1024];
  frame[depth] = 1.0f;
  return depth ? recurse(depth - 1) + frame[depth] : frame[0];
}

__global__ void stack_kernel(float* out, int bad) { out[threadIdx.x] = recurse(bad ? 100 : 3); }

__global__ void local_index_kernel(float* out, int bad) {
  float values[4] = {1, 2, 3, 4};
  out[threadIdx.x] = values[threadIdx.x % 4 + bad];
}

__global__ void overflow_kernel(int* out, int bad) {
  const int large = 0x7fffffff - static_cast<int>(blockDim.x);
  out[threadIdx.x] = large + static_cast<int>(threadIdx.x) + 100 * bad;
}

__global__ void cp_async_early_read_kernel(const uint4* in, uint4* out, int bad) {
  HG_SHARED(uint4, tile, 32);
  ptx::cp_async16(ptx::smem_u32(&tile[threadIdx.x]), in + threadIdx.x);
  ptx::cp_async_commit();
  if (!bad) ptx::cp_async_wait<0>();
  out[threadIdx.x] = tile[threadIdx.x];
  ptx::cp_async_wait<0>();
}

__global__ void cp_async_no_wait_kernel(const uint4* in, uint4* out, int bad) {
  HG_SHARED(uint4, tile, 32);
  ptx::cp_async16(ptx::smem_u32(&tile[threadIdx.x]), in + threadIdx.x);
  ptx::cp_async_commit();
  if (!bad) ptx::cp_async_wait<0>();
  out[threadIdx.x] = uint4{};
}

// Other threads see the data after a barrier, not after the owner's wait.
__global__ void cp_async_race_kernel(const uint4* in, uint4* out, int bad) {
  HG_SHARED(uint4, tile, 64);
  ptx::cp_async16(ptx::smem_u32(&tile[threadIdx.x]), in + threadIdx.x);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  if (!bad) __syncthreads();
  out[threadIdx.x] = tile[63 - threadIdx.x];
}

__global__ void cp_async_alignment_kernel(const uint4* in, uint4* out, int bad) {
  HG_SHARED(uint4, tile, 33);
  const uint32_t target = ptx::smem_u32(&tile[threadIdx.x]) + 8 * bad;
  ptx::cp_async16(target, in + threadIdx.x);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  out[threadIdx.x] = uint4{};
}

__global__ void cp_async_bounds_kernel(const uint4* in, uint4* out, int bad) {
  HG_SHARED(uint4, tile, 32);
  ptx::cp_async16(ptx::smem_u32(&tile[threadIdx.x]), in + threadIdx.x + bad);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  out[threadIdx.x] = tile[threadIdx.x];
}

__global__ void blocks_overlap_kernel(float* out, int bad) {
  out[blockIdx.x * (32 - 16 * bad) + threadIdx.x] = static_cast<float>(blockIdx.x);
}

__global__ void histogram_kernel(int* counts, int bad) {
  if (bad)
    counts[threadIdx.x % 4] += 1;
  else
    atomicAdd(&counts[threadIdx.x % 4], 1);
}

// The last block to finish sums what all wrote: a fence must come between the write and the ticket.
__global__ void last_block_kernel(float* parts, unsigned* ticket, float* out, int bad) {
  if (threadIdx.x) return;
  parts[blockIdx.x] = static_cast<float>(blockIdx.x);
  if (!bad) __threadfence();
  if (atomicAdd(ticket, 1u) != gridDim.x - 1) return;
  float sum = 0.0f;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += parts[i];
  out[0] = sum;
}

__global__ void flag_deadlock_kernel(uint32_t* flag, int bad) {
  if (blockIdx.x == 0)
    while (ptx::load_acquire(flag) != 1) {
    }
  else if (!bad)
    ptx::store_release(flag, 1);
}

// In which order the schedule runs the threads.
__global__ void tickets_kernel(int* next, int* order) {
  order[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(next, 1);
}

}  // namespace

#define HG_BROKEN(NAME, GRID, BLOCK, SMEM, TYPE) \
  HG_PROBE(NAME, (TYPE * out, int bad), NAME##_kernel, GRID, BLOCK, SMEM, out, bad)
#define HG_BROKEN_COPY(NAME, BLOCK, TYPE) \
  HG_PROBE(NAME, (TYPE * in, TYPE * out, int bad), NAME##_kernel, 1, BLOCK, 0, in, out, bad)
HG_BROKEN(global_write, 1, 32, 0, float)
HG_BROKEN(misaligned, 1, 1, 0, float)
HG_BROKEN(unwritten_output, 1, 32, 0, float)
HG_BROKEN(shared_bounds, 1, 32, 0, float)
HG_BROKEN(dynamic_bounds, 1, 32, 128, float)
HG_BROKEN(unwritten_shared, 1, 32, 0, float)
HG_BROKEN(block_race, 1, 64, 0, float)
HG_BROKEN(warp_race, 1, 32, 0, float)
HG_BROKEN(overwrite_race, 1, 64, 0, float)
HG_BROKEN(shared_atomic, 1, 64, 0, int)
HG_BROKEN(divergent_barrier, 1, 64, 0, float)
HG_BROKEN(named_barrier, 1, 64, 0, float)
HG_BROKEN(shuffle_mask, 1, 32, 0, float)
HG_BROKEN(early_exit, 1, 32, 0, float)
HG_BROKEN(partial_warp_mma, 1, 32, 0, float)
HG_BROKEN(stack, 1, 32, 0, float)
HG_BROKEN(local_index, 1, 32, 0, float)
HG_BROKEN(overflow, 1, 32, 0, int)
HG_BROKEN(blocks_overlap, 2, 32, 0, float)
HG_BROKEN(histogram, 4, 32, 0, int)
HG_BROKEN(flag_deadlock, 2, 1, 0, uint32_t)
HG_BROKEN_COPY(global_read, 32, float)
HG_BROKEN_COPY(input_write, 32, float)
HG_BROKEN_COPY(cp_async_early_read, 32, uint4)
HG_BROKEN_COPY(cp_async_no_wait, 32, uint4)
HG_BROKEN_COPY(cp_async_race, 64, uint4)
HG_BROKEN_COPY(cp_async_alignment, 32, uint4)
HG_BROKEN_COPY(cp_async_bounds, 32, uint4)
HG_PROBE(null_pointer, (float* out, int bad), null_pointer_kernel, 1, 32, 0, out, nullptr, bad)
HG_PROBE(last_block, (float* parts, unsigned* ticket, float* out, int bad), last_block_kernel, 5, 32, 0, parts, ticket,
         out, bad)
HG_PROBE(tickets, (int* next, int* order), tickets_kernel, 3, 32, 0, next, order)
HG_PROBE(block_size, (float* out, int bad), global_write_kernel, 1, bad ? 1056 : 32, 0, out, 0)
HG_PROBE(shared_size, (float* out, int bad), global_write_kernel, 1, 32, bad ? 228 << 10 : 64, out, 0)

}  // namespace hgfast::cuda
