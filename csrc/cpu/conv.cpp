// Fused convolution for inference, float32, NHWC (common/conv.h): every algorithm is "gather tiles, multiply panels,
// scatter tiles" (conv_layout.h). Bound by the FMA units except on small maps, where reading the weights is what takes
// the time.
#include "common/ops.h"
#include "cpu/conv_engine.h"
#include "cpu/conv_transform.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

template <class Tiles>
void run(const Conv& conv, const ConvLayout& layout) {
  ConvEngine<Tiles>(conv, layout).run();
}

}  // namespace

void conv(const Conv& conv, Exec exec) {
  const ConvLayout layout = conv_layout(conv.shape, exec);
  if (layout.tiles == 0 || conv.shape.k == 0) return;
  const int64_t needed = layout.workspace_floats() * sizeof(float);
  HGFAST_CHECK(conv.workspace_bytes >= needed, "conv: workspace must have ", needed, " bytes for ", layout.threads,
               " threads, got ", conv.workspace_bytes);
  switch (layout.tiling.algorithm) {
    case ConvAlgorithm::kF23:
      return run<WinogradTiles<F23>>(conv, layout);
    case ConvAlgorithm::kF43:
      return run<WinogradTiles<F43>>(conv, layout);
    case ConvAlgorithm::kF63:
      return run<WinogradTiles<F63>>(conv, layout);
    case ConvAlgorithm::kS23:
      return run<WinogradTiles<S23>>(conv, layout);
    case ConvAlgorithm::kS43:
      return run<WinogradTiles<S43>>(conv, layout);
    default:
      return run<DirectTiles>(conv, layout);
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
