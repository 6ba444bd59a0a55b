// The CUDA runtime's part that asks and orders the device. Device memory is the host's; all work is done when it is
// asked for.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>

#include "fat_binary.h"
#include "regions.h"
#include "runtime.h"

namespace hgfast::ptx {

namespace {

thread_local cudaError_t last_error = cudaSuccess;
std::string& last_message() {
  static auto* const text = new std::string;
  return *text;
}

// $HGFAST_PTX_PROCESSORS; few, so that small tests have more work items than processors.
int processors() {
  const char* wish = std::getenv("HGFAST_PTX_PROCESSORS");
  return wish ? std::atoi(wish) : 4;
}

}  // namespace

cudaError_t set_error(cudaError_t error, const std::string& why) {
  last_error = error;
  last_message() = "emulator: " + why;
  return error;
}

int shared_limit() { return device_capability() >= 90 ? 227 * 1024 : 163 * 1024; }

}  // namespace hgfast::ptx

using namespace hgfast::ptx;

extern "C" {

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "no error" : last_message().c_str(); }
const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }

cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = device_capability() / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = device_capability() % 10;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = processors();
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = shared_limit();
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = shared_limit() + 1024;
      break;
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = 65536;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      break;
    default:
      return set_error(cudaErrorInvalidValue, "device attribute " + std::to_string(static_cast<int>(attribute)));
  }
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
  return *blocks = 1, cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t, unsigned) {
  return *blocks = 1, cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void*, const cudaLaunchConfig_t*) {
  return *clusters = 4, cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  return std::memset(to, value, bytes), cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  return std::memcpy(to, from, bytes), cudaSuccess;
}
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  *memory = new uint8_t[bytes]();  // for the life of the process
  regions().add(*memory, bytes, true, "host memory", true);
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  return *status = cudaStreamCaptureStatusNone, cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t*, const cudaGraphNode_t**, const cudaGraphEdgeData**, size_t*) {
  return *status = cudaStreamCaptureStatusNone, *id = 0, cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }

}  // extern "C"
