#include "cuda/conv_mma.cuh"

namespace hgfast::cuda {

template void run_conv_mma<__half>(const Conv&, const ConvChoice&, Exec);
template void run_conv_mma<__nv_bfloat16>(const Conv&, const ConvChoice&, Exec);
template void run_conv_mma<float>(const Conv&, const ConvChoice&, Exec);

}  // namespace hgfast::cuda
