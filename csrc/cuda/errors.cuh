// How errors of the CUDA runtime are told.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

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

}  // namespace hgfast::cuda
