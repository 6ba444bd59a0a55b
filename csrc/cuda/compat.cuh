// The only header a kernel includes for CUDA itself: types, shared memory, launches. The host emulator
// (tests/emulator) compiles the same kernels as C++ and brings its own meaning of each of these.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/check.h"
#include "common/dtype.h"
#include "common/ops.h"

#ifdef HGFAST_EMULATOR
#include "emulator/emulator.h"  // CUDA's types and functions, HG_SHARED, HG_DYN_SMEM, launch
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

// HG_SHARED(float, tile, 256): a static shared array. HG_DYN_SMEM(smem, 1024): the dynamic shared memory, aligned.
#define HG_SHARED(T, name, N) __shared__ T name[N]
#define HG_DYN_SMEM(name, align)     \
  extern __shared__ __align__(align) \
  unsigned char hg_dyn_smem_[];      \
  unsigned char* const name = hg_dyn_smem_
#endif

#define HG_DEV __device__ __forceinline__

// 1 where Hopper's own instructions (TMA, wgmma, setmaxnreg, stmatrix) may be used. Kernels that use them wrap their
// bodies in `#if HG_SM90A`, since every source is compiled for each architecture.
#if defined(HGFAST_EMULATOR) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HG_SM90A 1
#else
#define HG_SM90A 0
#endif

namespace hgfast::cuda {

#ifndef HGFAST_EMULATOR
inline void check_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

// The one way a kernel is launched: on the given stream, without synchronising.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t dynamic_smem, Exec stream, Args&&... args) {
  if (dynamic_smem > 48 * 1024)
    check_cuda(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(dynamic_smem)),
        "shared memory size");
  kernel<<<grid, block, dynamic_smem, reinterpret_cast<cudaStream_t>(stream)>>>(static_cast<Args&&>(args)...);
  check_cuda(cudaGetLastError(), "launch");
}
#endif

template <bool kWithDouble = false, class F>
void dispatch(DType dtype, const char* op, const F& f) {
  dispatch_dtype<__half, __nv_bfloat16, kWithDouble>(dtype, op, f);
}

HG_DEV float to_float(float v) { return v; }
HG_DEV float to_float(__half v) { return __half2float(v); }
HG_DEV float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

template <class T>
HG_DEV T from_float(float v);
template <>
HG_DEV float from_float<float>(float v) {
  return v;
}
template <>
HG_DEV __half from_float<__half>(float v) {
  return __float2half_rn(v);
}
template <>
HG_DEV __nv_bfloat16 from_float<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

}  // namespace hgfast::cuda
