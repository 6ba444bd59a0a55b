// GEMMs of CUTLASS 3.x for sm_90a (TMA, mbarriers, wgmma, setmaxnreg, clusters): D = A B + C, C and D row-major. Each
// is compiled by itself (-DPART=...), as it takes a minute.
#include "cute/tensor.hpp"
#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/device/gemm_universal_adapter.h"
#include "cutlass/gemm/kernel/gemm_universal.hpp"
#include "cutlass/kernel_hardware_info.hpp"
#include "cutlass/util/packed_stride.hpp"

namespace {

using namespace cute;
using RowMajor = cutlass::layout::RowMajor;
using ColumnMajor = cutlass::layout::ColumnMajor;

template <class Element, class LayoutA, class LayoutB, class Tile, class Cluster, class MainSchedule,
          class EpilogueSchedule>
int run(const void* a, const void* b, const void* c, void* d, void* workspace, int m, int n, int k) {
  constexpr int kAlign = 128 / cutlass::sizeof_bits<Element>::value;
  using Arch = cutlass::arch::Sm90;
  using Class = cutlass::arch::OpClassTensorOp;
  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      Arch, Class, Tile, Cluster, cutlass::epilogue::collective::EpilogueTileAuto, float, float, Element, RowMajor,
      kAlign, Element, RowMajor, kAlign, EpilogueSchedule>::CollectiveOp;
  constexpr int kEpilogueBytes = static_cast<int>(sizeof(typename Epilogue::SharedStorage));
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      Arch, Class, Element, LayoutA, kAlign, Element, LayoutB, kAlign, float, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<kEpilogueBytes>, MainSchedule>::CollectiveOp;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<Shape<int, int, int, int>, Mainloop, Epilogue>;
  using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
  const auto stride_a = cutlass::make_cute_packed_stride(typename Kernel::StrideA{}, {m, k, 1});
  const auto stride_b = cutlass::make_cute_packed_stride(typename Kernel::StrideB{}, {n, k, 1});
  const auto stride_c = cutlass::make_cute_packed_stride(typename Kernel::StrideC{}, {m, n, 1});
  cutlass::KernelHardwareInfo hardware;
  hardware.device_id = 0;
  hardware.sm_count = 4;
  typename Gemm::Arguments arguments{
      cutlass::gemm::GemmUniversalMode::kGemm,
      {m, n, k, 1},
      {static_cast<const Element*>(a), stride_a, static_cast<const Element*>(b), stride_b},
      {{1.0f, 1.0f}, static_cast<const Element*>(c), stride_c, static_cast<Element*>(d), stride_c},
      hardware};
  Gemm gemm;
  if (gemm.can_implement(arguments) != cutlass::Status::kSuccess) return 1;
  if (Gemm::get_workspace_size(arguments) > 1 << 20) return 2;
  if (gemm.initialize(arguments, workspace) != cutlass::Status::kSuccess) return 3;
  return gemm.run() == cutlass::Status::kSuccess ? 0 : 4;
}

using Half = cutlass::half_t;
using BFloat16 = cutlass::bfloat16_t;
using Tf32 = cutlass::tfloat32_t;
using Single = Shape<_1, _1, _1>;
using Plain = cutlass::gemm::KernelTmaWarpSpecialized;
using Cooperative = cutlass::gemm::KernelTmaWarpSpecializedCooperative;
using Pingpong = cutlass::gemm::KernelTmaWarpSpecializedPingpong;
using StoreCooperative = cutlass::epilogue::TmaWarpSpecializedCooperative;
using Store = cutlass::epilogue::TmaWarpSpecialized;
using Direct = cutlass::epilogue::NoSmemWarpSpecialized;

}  // namespace

#define GEMM(NAME, ...)                                                                                            \
  extern "C" __attribute__((visibility("default"))) int NAME(const void* a, const void* b, const void* c, void* d, \
                                                             void* workspace, int m, int n, int k) {               \
    return run<__VA_ARGS__>(a, b, c, d, workspace, m, n, k);                                                       \
  }
#if PART == 0
GEMM(cooperative_tn, BFloat16, RowMajor, ColumnMajor, Shape<_128, _128, _64>, Single, Cooperative, StoreCooperative)
#elif PART == 1
GEMM(pingpong_tn, Half, RowMajor, ColumnMajor, Shape<_64, _128, _64>, Single, Pingpong, Store)
#elif PART == 2
GEMM(cooperative_nt, Half, ColumnMajor, RowMajor, Shape<_128, _64, _64>, Single, Cooperative, StoreCooperative)
#elif PART == 3
GEMM(swizzle_64, BFloat16, RowMajor, ColumnMajor, Shape<_64, _64, _32>, Single, Plain, Direct)
#elif PART == 4
GEMM(cluster_2x1, BFloat16, RowMajor, ColumnMajor, Shape<_128, _128, _64>, Shape<_2, _1, _1>, Cooperative,
     StoreCooperative)
#elif PART == 5
GEMM(swizzle_32, BFloat16, RowMajor, ColumnMajor, Shape<_64, _64, _16>, Single, Plain, Store)
#elif PART == 6
GEMM(tf32_sm90_tn, Tf32, RowMajor, ColumnMajor, Shape<_64, _128, _32>, Single, Plain, Direct)
#endif
