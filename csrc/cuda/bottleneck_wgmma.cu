#include "cuda/bottleneck_wgmma.cuh"

namespace hgfast::cuda {

template void run_bottleneck<__half, WgmmaBottleneck8x16x128>(const Bottleneck&, Exec);
template void run_bottleneck<__half, WgmmaBottleneck8x8x128>(const Bottleneck&, Exec);
template void run_bottleneck<__half, WgmmaBottleneck8x16x64>(const Bottleneck&, Exec);
template void run_bottleneck<__nv_bfloat16, WgmmaBottleneck8x16x128>(const Bottleneck&, Exec);
template void run_bottleneck<__nv_bfloat16, WgmmaBottleneck8x8x128>(const Bottleneck&, Exec);
template void run_bottleneck<__nv_bfloat16, WgmmaBottleneck8x16x64>(const Bottleneck&, Exec);

}  // namespace hgfast::cuda
