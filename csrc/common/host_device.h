// Marks functions of csrc/common that kernels call on both sides.
#pragma once

#ifdef __CUDACC__
#define HGFAST_HOST_DEVICE __host__ __device__
#else
#define HGFAST_HOST_DEVICE
#endif
