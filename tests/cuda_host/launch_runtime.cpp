// A CUDA runtime for launch.cu: it writes down what it is asked for, and runs nothing. As on a card, an error of a
// kernel is told by whoever waits next, while one of a launch is told by cudaGetLastError.
#include <cuda_runtime_api.h>

#include <map>
#include <string>

namespace {

// Kernels are registered before this file's own variables are made.
std::map<const void*, std::string>& names() {
  static std::map<const void*, std::string> all;
  return all;
}

std::string written;
cudaStream_t pushed = nullptr;
cudaError_t of_launch = cudaSuccess, of_kernel = cudaSuccess, last = cudaSuccess;
cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;

void write(const std::string& what, cudaStream_t stream) {
  written += what + " on stream " + std::to_string(reinterpret_cast<size_t>(stream)) + "\n";
}

cudaError_t launch(const void* kernel, cudaStream_t stream) {
  write(names()[kernel], stream);
  return last = of_launch;
}

}  // namespace

extern "C" {

// What nvcc's own code calls: registration, and launches.
void** __cudaRegisterFatBinary(void*) { return nullptr; }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, void*, void*, void*, void*, int*) {
  names()[host] = std::string(name).find("first_kernel") != std::string::npos ? "first_kernel" : "second_kernel";
}
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, CUstream_st* stream) { return pushed = stream, 0; }
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void* stream) {
  return *static_cast<cudaStream_t*>(stream) = pushed, cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  return *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function)), cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t, cudaStream_t stream) {
  return launch(kernel, stream);
}
cudaError_t cudaLaunchKernel(const void* kernel, dim3, dim3, void**, size_t, cudaStream_t stream) {
  return launch(kernel, stream);
}

// What launch.cuh calls.
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  return *status = capture, cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return write("wait", stream), last = of_kernel; }
cudaError_t cudaFuncGetName(const char** name, const void* kernel) {
  return *name = names()[kernel].c_str(), cudaSuccess;
}
cudaError_t cudaGetLastError() {
  const cudaError_t error = last;
  return last = cudaSuccess, error;
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "an illegal memory access was encountered" : "invalid configuration";
}
cudaError_t cudaHostAlloc(void**, size_t, unsigned) { return cudaErrorMemoryAllocation; }
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 1, cudaSuccess; }
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*) { return cudaSuccess; }
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

#define EXPORT __attribute__((visibility("default")))

// How the runtime behaves from now on.
EXPORT void set_errors(int launch_error, int kernel_error) {
  of_launch = static_cast<cudaError_t>(launch_error), of_kernel = static_cast<cudaError_t>(kernel_error);
}
EXPORT void set_capturing(int on) { capture = on ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone; }
// What it was asked for since the last call.
EXPORT const char* take_calls() {
  static std::string taken;
  taken.swap(written);
  written.clear();
  return taken.c_str();
}

}  // extern "C"
