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

#include "cuda/launch.cuh"

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
