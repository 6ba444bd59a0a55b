// A convolution of CUTLASS 3.x for sm_90a (im2col TMA and wgmma) with its epilogue: relu(conv(x, w) + bias + residual),
// in bfloat16, channels last.
// clang-format off: CUTLASS's convolution headers need these two before them
#include "cute/tensor.hpp"
#include "cutlass/kernel_hardware_info.hpp"
// clang-format on
#include "cutlass/conv/collective/collective_builder.hpp"
#include "cutlass/conv/device/conv_universal_adapter.hpp"
#include "cutlass/conv/kernel/conv_universal.hpp"
#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/epilogue/fusion/operations.hpp"
#include "cutlass/epilogue/thread/activation.h"

namespace {

using namespace cute;
using Element = cutlass::bfloat16_t;
using Layout = cutlass::layout::TensorNHWC;
using Arch = cutlass::arch::Sm90;
using Class = cutlass::arch::OpClassTensorOp;
using Tile = Shape<_128, _128, Shape<_64>>;
using Cluster = Shape<_1, _1, _1>;
constexpr int kAlign = 8;
using Fusion = cutlass::epilogue::fusion::LinCombPerColBiasEltAct<cutlass::epilogue::thread::ReLu, Element, float,
                                                                  float, Element, float>;
using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
    Arch, Class, Tile, Cluster, cutlass::epilogue::collective::EpilogueTileAuto, float, float, Element, Layout, kAlign,
    Element, Layout, kAlign, cutlass::epilogue::TmaWarpSpecialized, Fusion>::CollectiveOp;
using Mainloop = typename cutlass::conv::collective::CollectiveBuilder<
    Arch, Class, cutlass::conv::Operator::kFprop, Element, Layout, kAlign, Element, Layout, kAlign, float, Tile,
    Cluster, cutlass::conv::collective::StageCountAutoCarveout<sizeof(typename Epilogue::SharedStorage)>,
    cutlass::conv::KernelImplicitTmaWarpSpecializedSm90>::CollectiveOp;
using Problem = cutlass::conv::ConvProblemShape<cutlass::conv::Operator::kFprop, 2>;
using Kernel = cutlass::conv::kernel::ConvUniversal<Problem, Mainloop, Epilogue>;
using Conv = cutlass::conv::device::ConvUniversalAdapter<Kernel>;

}  // namespace

extern "C" __attribute__((visibility("default"))) int conv_bias_residual_relu(const void* x, const void* w,
                                                                              const float* bias, const void* residual,
                                                                              void* y, void* workspace, int n,
                                                                              int height, int width, int c, int k,
                                                                              int r, int stride) {
  const int pad = r / 2;
  Problem problem(cutlass::conv::Mode::kCrossCorrelation, {n, height, width, c}, {k, r, r, c}, {pad, pad}, {pad, pad},
                  {stride, stride}, {1, 1}, 1);
  typename Kernel::StrideC strides{};
  cute::for_each(cute::make_seq<cute::rank<0>(typename Kernel::StrideC{})>{}, [&](auto i) {
    cute::get<0, i>(strides) = problem.stride_C[Problem::RankT - 2 - i];  // pixels: width, height, image
  });
  typename Conv::Arguments arguments{
      problem,
      {static_cast<const Element*>(x), static_cast<const Element*>(w)},
      {{}, static_cast<const Element*>(residual), strides, static_cast<Element*>(y), strides},
      {},
      {}};
  arguments.epilogue.thread.alpha = 1.0f;
  arguments.epilogue.thread.beta = 1.0f;
  arguments.epilogue.thread.bias_ptr = bias;
  Conv conv;
  if (Conv::can_implement(arguments) != cutlass::Status::kSuccess) return 1;
  if (Conv::get_workspace_size(arguments) > 1 << 20) return 2;
  if (conv.initialize(arguments, workspace) != cutlass::Status::kSuccess) return 3;
  return conv.run() == cutlass::Status::kSuccess ? 0 : 4;
}
