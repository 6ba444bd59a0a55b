#include "cuda/conv_wgmma.cuh"

namespace hgfast::cuda {

template void run_conv_wgmma<__half>(const Conv&, const ConvChoice&, Exec);
template void run_conv_wgmma<__nv_bfloat16>(const Conv&, const ConvChoice&, Exec);

}  // namespace hgfast::cuda
