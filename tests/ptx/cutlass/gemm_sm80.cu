// GEMMs of CUTLASS 2.x for sm_80 (cp.async, ldmatrix, mma): D = A B + C, A row-major, C and D row-major.
#include "cutlass/cutlass.h"
#include "cutlass/epilogue/thread/linear_combination.h"
#include "cutlass/gemm/device/gemm.h"

namespace {

using RowMajor = cutlass::layout::RowMajor;
using ColumnMajor = cutlass::layout::ColumnMajor;
template <int m, int n, int k>
using Shape = cutlass::gemm::GemmShape<m, n, k>;

template <class Element, class Output, class LayoutB, class Tile, class WarpTile, class Mma, int kStages>
int run(const void* a, const void* b, const void* c, void* d, int m, int n, int k) {
  using Epilogue =
      cutlass::epilogue::thread::LinearCombination<Output, 128 / cutlass::sizeof_bits<Output>::value, float, float>;
  using Gemm =
      cutlass::gemm::device::Gemm<Element, RowMajor, Element, LayoutB, Output, RowMajor, float,
                                  cutlass::arch::OpClassTensorOp, cutlass::arch::Sm80, Tile, WarpTile, Mma, Epilogue,
                                  cutlass::gemm::threadblock::GemmIdentityThreadblockSwizzle<>, kStages>;
  const int ldb = std::is_same_v<LayoutB, RowMajor> ? n : k;
  typename Gemm::Arguments arguments({m, n, k}, {static_cast<const Element*>(a), k},
                                     {static_cast<const Element*>(b), ldb}, {static_cast<const Output*>(c), n},
                                     {static_cast<Output*>(d), n}, {1.0f, 1.0f});
  Gemm gemm;
  if (Gemm::can_implement(arguments) != cutlass::Status::kSuccess) return 1;
  if (gemm.initialize(arguments) != cutlass::Status::kSuccess) return 2;
  return gemm() == cutlass::Status::kSuccess ? 0 : 3;
}

}  // namespace

#define GEMM(NAME, ...)                                                                                            \
  extern "C" __attribute__((visibility("default"))) int NAME(const void* a, const void* b, const void* c, void* d, \
                                                             void*, int m, int n, int k) {                         \
    return run<__VA_ARGS__>(a, b, c, d, m, n, k);                                                                  \
  }
GEMM(half_tn, cutlass::half_t, cutlass::half_t, ColumnMajor, Shape<128, 64, 32>, Shape<64, 32, 32>, Shape<16, 8, 16>, 3)
GEMM(bfloat16_nn, cutlass::bfloat16_t, float, RowMajor, Shape<64, 64, 64>, Shape<32, 32, 64>, Shape<16, 8, 16>, 4)
GEMM(tf32_tn, cutlass::tfloat32_t, float, ColumnMajor, Shape<128, 64, 16>, Shape<64, 32, 16>, Shape<16, 8, 8>, 3)
