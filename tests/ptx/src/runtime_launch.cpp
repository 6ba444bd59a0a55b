// The CUDA runtime's part that nvcc's host code calls: registration of kernels, and their launch, which runs them at
// once.
#include <cuda.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "fat_binary.h"
#include "runtime.h"
#include "schedule.h"

using namespace hgfast::ptx;

namespace {

constexpr int kDefaultShared = 48 * 1024, kNoShare = -1;

struct Kernel {
  FatBinary* binary;
  std::string name;
  int max_dynamic = kDefaultShared;
  int share = kNoShare;  // of a multiprocessor's memory that is to be shared memory, in per cent
};

// By the address of the host's function. Never destroyed: modules may launch while the process ends.
std::map<const void*, Kernel>& kernels() {
  static auto* const all = new std::map<const void*, Kernel>;
  return *all;
}

struct Configuration {
  dim3 grid, block;
  size_t shared;
  void* stream;
};
thread_local std::vector<Configuration> configurations;

Dim dim(const dim3& d) { return {d.x, d.y, d.z}; }

cudaError_t launch(const void* function, const dim3& grid, const dim3& block, const dim3& cluster, size_t shared,
                   void** arguments) {
  const auto found = kernels().find(function);
  if (found == kernels().end()) return set_error(cudaErrorInvalidDeviceFunction, "no such kernel");
  const Kernel& kernel = found->second;
  try {
    Module& module = kernel.binary->module();
    const Entry& entry = module.entry(kernel.name);
    if (static_cast<int>(shared) > kernel.max_dynamic)
      return set_error(cudaErrorInvalidValue, kernel.name + ": dynamic shared memory that was not asked for");
    if (static_cast<int>(shared + entry.static_shared()) > shared_limit())
      return set_error(cudaErrorInvalidValue, kernel.name + ": more shared memory than a block may have");
    const Dim clusters = entry.cluster.x ? entry.cluster : dim(cluster);
    run_launch(module, kernel.name, dim(grid), dim(block), clusters, static_cast<uint32_t>(shared), arguments);
  } catch (const std::exception& error) {  // across C's frames an error is a code
    return set_error(cudaErrorLaunchFailure, error.what());
  }
  return cudaSuccess;
}

}  // namespace

int hgfast::ptx::preferred_share(const std::string& text) {
  for (const auto& [address, kernel] : kernels())
    if (kernel.name.find(text) != std::string::npos) return kernel.share;
  return kNoShare;
}

extern "C" {

void** __cudaRegisterFatBinary(void* wrapper) {
  struct Wrapper {
    int magic, version;
    const uint8_t* data;
  };
  return reinterpret_cast<void**>(new FatBinary(static_cast<Wrapper*>(wrapper)->data));
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void** handle, const char* host, char*, const char* name, int, void*, void*, void*, void*,
                            int*) {
  kernels()[host] = {reinterpret_cast<FatBinary*>(handle), name};
}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, CUstream_st* stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  const Configuration c = configurations.back();
  configurations.pop_back();
  *grid = c.grid, *block = c.block, *shared = c.shared, *static_cast<void**>(stream) = c.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared,
                               cudaStream_t) {
  return launch(kernel, grid, block, dim3(1, 1, 1), shared, arguments);
}
cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                             cudaStream_t) {
  return launch(function, grid, block, dim3(1, 1, 1), shared, arguments);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  dim3 cluster(1, 1, 1);
  for (unsigned k = 0; k < config->numAttrs; ++k)
    if (config->attrs[k].id == cudaLaunchAttributeClusterDimension) {
      const auto& d = config->attrs[k].val.clusterDim;
      cluster = dim3(d.x, d.y, d.z);
    }
  return launch(function, config->gridDim, config->blockDim, cluster, config->dynamicSmemBytes, arguments);
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const auto kernel = kernels().find(function);
  if (kernel == kernels().end()) return set_error(cudaErrorInvalidDeviceFunction, "no such kernel");
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
    if (value < kNoShare || value > 100) return set_error(cudaErrorInvalidValue, "a carveout is -1 to 100 per cent");
    return kernel->second.share = value, cudaSuccess;
  }
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value > shared_limit()) return set_error(cudaErrorInvalidValue, "more shared memory than a block may have");
  kernel->second.max_dynamic = std::max(kernel->second.max_dynamic, value);
  return cudaSuccess;
}

// Registers: as many as a block of the most threads can have. ptxas knows how many it takes, PTX does not.
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  const auto kernel = kernels().find(function);
  if (kernel == kernels().end()) return set_error(cudaErrorInvalidDeviceFunction, "no such kernel");
  try {
    const Entry& entry = kernel->second.binary->module().entry(kernel->second.name);
    const int most = entry.max_threads ? static_cast<int>(entry.max_threads) : 1024;
    *attributes = {};
    attributes->maxThreadsPerBlock = most;
    attributes->numRegs = std::min(255, 65536 / most);
    attributes->sharedSizeBytes = entry.static_shared();
    attributes->maxDynamicSharedSizeBytes = kernel->second.max_dynamic;
    attributes->preferredShmemCarveout = kernel->second.share;
  } catch (const std::exception& error) {
    return set_error(cudaErrorInvalidKernelImage, error.what());
  }
  return cudaSuccess;
}

cudaError_t cudaFuncGetName(const char** name, const void* function) {
  const auto kernel = kernels().find(function);
  if (kernel == kernels().end()) return set_error(cudaErrorInvalidDeviceFunction, "no such kernel");
  return *name = kernel->second.name.c_str(), cudaSuccess;
}

}  // extern "C"
