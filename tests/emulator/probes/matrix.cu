// Probes of csrc/cuda/ptx/matrix.cuh and copy.cuh: each kernel shows what one wrapper does. One warp each.
#include "cuda/ptx.cuh"
#include "probe.h"

namespace hgfast::cuda {
namespace {

// out[lane][i]: register i of a 16x16 (x4) or 16x8 (x2) tile of 16-bit elements in rows of 16 bytes.
template <int kCount, bool kTranspose>
__global__ void ldmatrix_kernel(const uint16_t* in, uint32_t* out) {
  HG_SHARED(uint4, rows, kCount * 8);
  const int lane = threadIdx.x;
  if (lane < kCount * 8) rows[lane] = reinterpret_cast<const uint4*>(in)[lane];
  __syncwarp();
  uint32_t r[kCount];
  const uint32_t row = ptx::smem_u32(&rows[lane % (kCount * 8)]);
  if constexpr (kCount == 4 && kTranspose) ptx::ldmatrix_x4_trans(r, row);
  if constexpr (kCount == 4 && !kTranspose) ptx::ldmatrix_x4(r, row);
  if constexpr (kCount == 2 && kTranspose) ptx::ldmatrix_x2_trans(r, row);
  if constexpr (kCount == 2 && !kTranspose) ptx::ldmatrix_x2(r, row);
  for (int i = 0; i < kCount; ++i) out[lane * kCount + i] = r[i];
}

template <int kCount>
__global__ void stmatrix_kernel(const uint32_t* in, uint16_t* out) {
#if HG_SM90A
  HG_SHARED(uint4, rows, kCount * 8);
  const int lane = threadIdx.x;
  uint32_t r[kCount];
  for (int i = 0; i < kCount; ++i) r[i] = in[lane * kCount + i];
  const uint32_t row = ptx::smem_u32(&rows[lane % (kCount * 8)]);
  if constexpr (kCount == 4) ptx::stmatrix_x4(row, r);
  if constexpr (kCount == 2) ptx::stmatrix_x2(row, r);
  __syncwarp();
  if (lane < kCount * 8) reinterpret_cast<uint4*>(out)[lane] = rows[lane];
#endif
}

// d (16x8) += a (16x16 row-major) * b (8x16: n-major), fragments by the ISA's tables.
template <class T>
__global__ void mma_kernel(const uint32_t* a, const uint32_t* b, float* d) {
  const int group = threadIdx.x / 4, pair = threadIdx.x % 4;  // a pair is two 16-bit elements, one word
  const uint32_t fa[4] = {a[group * 8 + pair], a[(group + 8) * 8 + pair], a[group * 8 + pair + 4],
                          a[(group + 8) * 8 + pair + 4]};
  const uint32_t fb[2] = {b[group * 8 + pair], b[group * 8 + pair + 4]};
  float fd[4];
  for (int i = 0; i < 4; ++i) fd[i] = d[(group + i / 2 * 8) * 8 + pair * 2 + i % 2];
  ptx::mma_m16n8k16<T>(fd, fa, fb);
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + pair * 2 + i % 2] = fd[i];
}

// d (16x8) += a (16x8 row-major) * b (8x8: n-major) in tf32; out receives the rounded a.
__global__ void mma_tf32_kernel(const float* a, const float* b, float* d, float* rounded) {
  const int group = threadIdx.x / 4, t = threadIdx.x % 4;
  const int place[4] = {group * 8 + t, (group + 8) * 8 + t, group * 8 + t + 4, (group + 8) * 8 + t + 4};
  uint32_t fa[4], fb[2] = {ptx::to_tf32(b[group * 8 + t]), ptx::to_tf32(b[group * 8 + t + 4])};
  for (int i = 0; i < 4; ++i) {
    fa[i] = ptx::to_tf32(a[place[i]]);
    rounded[place[i]] = __uint_as_float(fa[i]);
  }
  float fd[4];
  for (int i = 0; i < 4; ++i) fd[i] = d[(group + i / 2 * 8) * 8 + t * 2 + i % 2];
  ptx::mma_m16n8k8_tf32(fd, fa, fb);
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + t * 2 + i % 2] = fd[i];
}

// Lane l copies 16 bytes of which l % 17 come from the source; also 8 of which l % 9 do, and 4 of which l % 5 do.
__global__ void cp_async_kernel(const unsigned char* in, unsigned char* out) {
  HG_SHARED(uint4, wide, 32);
  HG_SHARED(uint64_t, half, 32);
  HG_SHARED(uint32_t, quarter, 32);
  const int lane = threadIdx.x;
  ptx::cp_async16(ptx::smem_u32(&wide[lane]), in + lane * 16, lane % 17);
  ptx::cp_async_commit();
  ptx::cp_async8(ptx::smem_u32(&half[lane]), in + lane * 8, lane % 9);
  ptx::cp_async4(ptx::smem_u32(&quarter[lane]), in + lane * 4, lane % 5);
  ptx::cp_async_commit();
  ptx::cp_async_wait<1>();
  reinterpret_cast<uint4*>(out)[lane] = wide[lane];
  ptx::cp_async_wait<0>();
  reinterpret_cast<uint64_t*>(out + 512)[lane] = half[lane];
  reinterpret_cast<uint32_t*>(out + 768)[lane] = quarter[lane];
}

// Each block adds its number to a chain of partial sums, in the order of the blocks.
__global__ void flag_kernel(uint32_t* flag, uint32_t* sums) {
  if (threadIdx.x == 0) {
    while (ptx::load_acquire(flag) != blockIdx.x) {
    }
    sums[blockIdx.x + 1] = sums[blockIdx.x] + blockIdx.x;
    ptx::store_release(flag, blockIdx.x + 1);
  }
}

}  // namespace

HG_PROBE(ldmatrix_x4, (const uint16_t* in, uint32_t* out), (ldmatrix_kernel<4, false>), 1, 32, 0, in, out)
HG_PROBE(ldmatrix_x4_trans, (const uint16_t* in, uint32_t* out), (ldmatrix_kernel<4, true>), 1, 32, 0, in, out)
HG_PROBE(ldmatrix_x2, (const uint16_t* in, uint32_t* out), (ldmatrix_kernel<2, false>), 1, 32, 0, in, out)
HG_PROBE(ldmatrix_x2_trans, (const uint16_t* in, uint32_t* out), (ldmatrix_kernel<2, true>), 1, 32, 0, in, out)
HG_PROBE(stmatrix_x4, (const uint32_t* in, uint16_t* out), (stmatrix_kernel<4>), 1, 32, 0, in, out)
HG_PROBE(stmatrix_x2, (const uint32_t* in, uint16_t* out), (stmatrix_kernel<2>), 1, 32, 0, in, out)
HG_PROBE(mma_half, (const uint32_t* a, const uint32_t* b, float* d), (mma_kernel<__half>), 1, 32, 0, a, b, d)
HG_PROBE(mma_bfloat16, (const uint32_t* a, const uint32_t* b, float* d), (mma_kernel<__nv_bfloat16>), 1, 32, 0, a, b, d)
HG_PROBE(mma_tf32, (const float* a, const float* b, float* d, float* rounded), mma_tf32_kernel, 1, 32, 0, a, b, d,
         rounded)
HG_PROBE(cp_async, (const unsigned char* in, unsigned char* out), cp_async_kernel, 1, 32, 0, in, out)
HG_PROBE(flags, (uint32_t* flag, uint32_t* sums), flag_kernel, 6, 32, 0, flag, sums)

}  // namespace hgfast::cuda
