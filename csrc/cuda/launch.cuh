// The one way a kernel is launched.
//
// HGFAST_SYNC=1 waits for each kernel, so that an error names the one that made it (not while a graph is captured).
#pragma once

#include <cuda_runtime.h>

#include <cstdlib>
#include <cstring>

#include "common/ops.h"
#include "cuda/errors.cuh"
#include "cuda/shared_memory.cuh"

namespace hgfast::cuda {

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
  if (dynamic_smem > 0)
    tell_shared_memory(symbol, static_cast<int>(block.x * block.y * block.z), static_cast<int>(dynamic_smem));
  kernel<<<grid, block, dynamic_smem, stream>>>(static_cast<Args&&>(args)...);
  if (const cudaError_t error = cudaGetLastError()) check_cuda(error, "launch of " + kernel_symbol(symbol));
  if (waits_for_each_kernel()) wait_for_kernel(symbol, stream);
}

}  // namespace hgfast::cuda
