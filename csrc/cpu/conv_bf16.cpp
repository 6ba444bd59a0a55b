// The fused convolution on activations in bfloat16, which halves what is read and written between the layers; where the
// processor multiplies pairs of bfloat16 (conv_product.h), twice the products per cycle too.
#include "cpu/conv_int16.h"
#include "cpu/conv_run.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
void run_pairs(Conv conv, const ConvLayout& layout) {
  const int64_t channels = conv.shape.c;
  conv.shape = in_pairs(conv.shape);
  if (layout.direct()) return run_tiles<DirectTiles<float, BFloat16, Bfloat16Product>>(conv, layout);
  conv.shape.c = channels;
  switch (layout.tiling.algorithm) {
    case ConvAlgorithm::kF23Int16:
      return run_tiles<Int16Tiles<F23>>(conv, layout);
    case ConvAlgorithm::kS43Int16:
      return run_tiles<Int16Tiles<S43>>(conv, layout);
    default:
      return run_tiles<Int16Tiles<F43>>(conv, layout);
  }
}
#else
void run_pairs(const Conv&, const ConvLayout&) {}  // conv_layout never takes pairs here
#endif

}  // namespace

void conv_bf16(const Conv& conv, const ConvLayout& layout) {
  layout.tiling.pairs ? run_pairs(conv, layout) : run_conv<BFloat16>(conv, layout);
}

}  // namespace hgfast::cpu::HGFAST_ISA
