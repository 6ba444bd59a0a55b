// The fused convolution on activations in bfloat16, which halves what is read and written between the layers; where the
// processor multiplies pairs of bfloat16 (conv_product.h), twice the products per cycle too.
#include "cpu/conv_run.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

#if defined(__AVX512BF16__)
void run_pairs(Conv conv, const ConvLayout& layout) {
  conv.shape = in_pairs(conv.shape);
  run_tiles<DirectTiles<float, BFloat16, PairProduct>>(conv, layout);
}
#else
void run_pairs(const Conv&, const ConvLayout&) {}  // conv_layout never takes pairs here
#endif

}  // namespace

void conv_bf16(const Conv& conv, const ConvLayout& layout) {
  layout.tiling.pairs ? run_pairs(conv, layout) : run_conv<BFloat16>(conv, layout);
}

}  // namespace hgfast::cpu::HGFAST_ISA
