// What the parts of the CUDA runtime share.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace hgfast::ptx {

// Sets what cudaGetLastError and cudaGetErrorString will say.
cudaError_t set_error(cudaError_t error, const std::string& why);
// Bytes of shared memory that a block may have.
int shared_limit();

}  // namespace hgfast::ptx
