#include "cuda/bottleneck_mma.cuh"

namespace hgfast::cuda {

template void run_bottleneck<__half, MmaBottleneck8x16x128>(const Bottleneck&, Exec);
template void run_bottleneck<__half, MmaBottleneck8x8x128>(const Bottleneck&, Exec);
template void run_bottleneck<__half, MmaBottleneck8x16x64>(const Bottleneck&, Exec);
template void run_bottleneck<__nv_bfloat16, MmaBottleneck8x16x128>(const Bottleneck&, Exec);
template void run_bottleneck<__nv_bfloat16, MmaBottleneck8x8x128>(const Bottleneck&, Exec);
template void run_bottleneck<__nv_bfloat16, MmaBottleneck8x16x64>(const Bottleneck&, Exec);

}  // namespace hgfast::cuda
