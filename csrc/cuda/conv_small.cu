#include "cuda/conv_small.cuh"

namespace hgfast::cuda {

template void run_conv_small<__half>(const Conv&, const ConvChoice&, Exec);
template void run_conv_small<__nv_bfloat16>(const Conv&, const ConvChoice&, Exec);
template void run_conv_small<float>(const Conv&, const ConvChoice&, Exec);

}  // namespace hgfast::cuda
