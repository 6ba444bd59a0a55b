// CUDA's headers for vector and half types, with the language's qualifiers redefined for a host compiler.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __launch_bounds__
#undef __grid_constant__
#undef __forceinline__
#define __global__ static
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
// CUDA's own header makes __shared__ empty under a host compiler, which would silently give each thread its own copy.
#define __shared__ use_HG_SHARED_or_HG_DYN_SMEM_instead_of_the_bare_qualifier

// The emulator switches between threads and rewrites these; one operating-system thread runs everything.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;
