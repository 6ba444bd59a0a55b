// The one way a kernel is launched, and how its errors are told.
//
// HGFAST_SYNC=1 waits for each kernel, so that an error names the one that made it (not while a graph is captured).
#pragma once

#include <cuda_runtime.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "common/ops.h"
#include "cuda/wait_fault.cuh"

namespace hgfast::cuda {

// Throws what an error says, and clears it, so that the next launch does not report it again.
inline void check_cuda(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  const std::string note = wait_fault_text();
  throw std::runtime_error("CUDA: " + what + ": " + cudaGetErrorString(error) + (note.empty() ? "" : "; " + note));
}

// As the compiler mangles it: c++filt makes it readable.
inline std::string kernel_symbol(const void* kernel) {
  const char* name = nullptr;
#if CUDART_VERSION >= 12030
  if (cudaFuncGetName(&name, kernel) != cudaSuccess) name = nullptr;
#else
  (void)kernel;
#endif
  return name == nullptr ? "a kernel" : name;
}

inline bool waits_for_each_kernel() {
  static const bool wish = [] {
    const char* value = std::getenv("HGFAST_SYNC");
    return value != nullptr && *value != '\0' && std::strcmp(value, "0") != 0;
  }();
  return wish;
}

inline void wait_for_kernel(const void* kernel, cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream, &status), "capture status");
  if (status == cudaStreamCaptureStatusNone) check_cuda(cudaStreamSynchronize(stream), kernel_symbol(kernel));
}

// On the given stream, without synchronising.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t dynamic_smem, Exec exec, Args&&... args) {
  const auto stream = reinterpret_cast<cudaStream_t>(exec);
  const auto* symbol = reinterpret_cast<const void*>(kernel);
  if (dynamic_smem > 48 * 1024)
    if (const cudaError_t error =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(dynamic_smem)))
      check_cuda(error, "shared memory of " + kernel_symbol(symbol));
  kernel<<<grid, block, dynamic_smem, stream>>>(static_cast<Args&&>(args)...);
  if (const cudaError_t error = cudaGetLastError()) check_cuda(error, "launch of " + kernel_symbol(symbol));
  if (waits_for_each_kernel()) wait_for_kernel(symbol, stream);
}

}  // namespace hgfast::cuda
