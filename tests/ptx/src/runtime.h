// What the parts of the CUDA runtime share.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace hgfast::ptx {

// Sets what cudaGetLastError and cudaGetErrorString will say.
cudaError_t set_error(cudaError_t error, const std::string& why);
// Bytes of shared memory that a block may have.
int shared_limit();
// Per cent of a multiprocessor's memory that a kernel wants as shared memory, one with `text` in its name; -1: any.
int preferred_share(const std::string& text);

}  // namespace hgfast::ptx
