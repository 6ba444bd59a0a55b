// One wgmma tile (64 x 64 x 64) for each of CuTe's canonical layouts of shared memory, K-major and MN-major, whose
// descriptors are CuTe's: D = A B^T, A and B row-major in global memory.
#include "cute/tensor.hpp"
#include "cutlass/arch/barrier.h"
#include "cutlass/cutlass.h"

using namespace cute;

template <class Element, class Atom, class Mma>
__global__ void __launch_bounds__(128) multiply(const Element* a, const Element* b, float* d) {
  using Tile = decltype(tile_to_shape(Atom{}, Shape<_64, _64>{}));
  extern __shared__ __align__(1024) char memory[];
  auto* const first = reinterpret_cast<Element*>(memory);
  Tensor shared_a = make_tensor(make_smem_ptr(first), Tile{});
  Tensor shared_b = make_tensor(make_smem_ptr(first + 64 * 64), Tile{});
  for (int i = threadIdx.x; i < 64 * 64; i += 128) shared_a(i / 64, i % 64) = a[i], shared_b(i / 64, i % 64) = b[i];
  cutlass::arch::fence_view_async_shared();
  __syncthreads();
  auto mma = make_tiled_mma(Mma{});
  auto thread = mma.get_thread_slice(threadIdx.x);
  Tensor fragment_a = thread.make_fragment_A(thread.partition_A(shared_a));
  Tensor fragment_b = thread.make_fragment_B(thread.partition_B(shared_b));
  Tensor out = thread.partition_C(make_tensor(make_gmem_ptr(d), Shape<_64, _64>{}, Stride<_64, _1>{}));
  Tensor sums = thread.make_fragment_C(out);
  clear(sums);
  warpgroup_arrive();
  gemm(mma, fragment_a, fragment_b, sums);
  warpgroup_commit_batch();
  warpgroup_wait<0>();
  copy(sums, out);
}

using Half = cutlass::half_t;
#define LAYOUT(NAME, ATOM, MAJOR)                                                                     \
  extern "C" __attribute__((visibility("default"))) int NAME(const void* a, const void* b, void* d) { \
    multiply<Half, ATOM<Half>, SM90_64x64x16_F32F16F16_SS<GMMA::Major::MAJOR, GMMA::Major::MAJOR>>    \
        <<<1, 128, 2 * 64 * 64 * 2>>>(static_cast<const Half*>(a), static_cast<const Half*>(b),       \
                                      static_cast<float*>(d));                                        \
    return cudaGetLastError() != cudaSuccess;                                                         \
  }
LAYOUT(k_none, GMMA::Layout_K_INTER_Atom, K)
LAYOUT(k_32, GMMA::Layout_K_SW32_Atom, K)
LAYOUT(k_64, GMMA::Layout_K_SW64_Atom, K)
LAYOUT(k_128, GMMA::Layout_K_SW128_Atom, K)
LAYOUT(mn_none, GMMA::Layout_MN_INTER_Atom, MN)
LAYOUT(mn_32, GMMA::Layout_MN_SW32_Atom, MN)
LAYOUT(mn_64, GMMA::Layout_MN_SW64_Atom, MN)
LAYOUT(mn_128, GMMA::Layout_MN_SW128_Atom, MN)
