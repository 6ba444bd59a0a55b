// Fused convolution for inference, NHWC (common/conv.h): every algorithm is "gather tiles, multiply panels, scatter
// tiles" (conv_layout.h). Bound by the FMA units except on small maps, where reading the weights is what takes the
// time.
#include "common/ops.h"
#include "cpu/conv_run.h"

namespace hgfast::cpu::HGFAST_ISA {

void conv(const Conv& conv, Exec exec) {
  const ConvLayout layout = conv_layout(conv.shape, exec);
  if (layout.tiles == 0 || conv.shape.k == 0) return;
  const int64_t needed = layout.workspace_floats() * sizeof(float);
  HGFAST_CHECK(conv.workspace_bytes >= needed, "conv: workspace must have ", needed, " bytes for ", layout.threads,
               " threads, got ", conv.workspace_bytes);
  conv.shape.dtype == DType::kBFloat16 ? conv_bf16(conv, layout) : run_conv<float>(conv, layout);
}

}  // namespace hgfast::cpu::HGFAST_ISA
