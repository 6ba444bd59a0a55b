// csrc/cuda/shared_memory.cuh on two cards that differ, with a runtime that writes down what it is asked for.
#include "cuda/shared_memory.cuh"

#include <cstdio>
#include <string>

namespace {

constexpr int kKernels = 4, kCards = 2;
struct Card {
  int major, shared, shared_all;
};
constexpr Card kCardsThere[kCards] = {{9, 227 * 1024, 228 * 1024}, {8, 163 * 1024, 164 * 1024}};

char symbols[kKernels];  // whose addresses stand for kernels
int current = 0, registers[kKernels] = {128, 128, 128, 128}, static_bytes = 0;
cudaError_t answer = cudaSuccess, last = cudaSuccess;
bool refuses_shares = false;
std::string written, message;

int number_of(const void* kernel) { return static_cast<int>(static_cast<const char*>(kernel) - symbols); }

void write(const char* what, const void* kernel, int value) {
  char line[80];
  std::snprintf(line, sizeof line, "%s of kernel %d on card %d: %d\n", what, number_of(kernel), current, value);
  written += line;
}

}  // namespace

extern "C" {

cudaError_t cudaGetDevice(int* device) { return *device = current, cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const Card& card = kCardsThere[device];
  *value = attribute == cudaDevAttrComputeCapabilityMajor             ? card.major
           : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin     ? card.shared
           : attribute == cudaDevAttrMaxSharedMemoryPerMultiprocessor ? card.shared_all
           : attribute == cudaDevAttrMaxRegistersPerMultiprocessor    ? 65536
           : attribute == cudaDevAttrMaxThreadsPerMultiProcessor      ? 2048
           : attribute == cudaDevAttrMultiProcessorCount              ? 100
                                                                      : 0;
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  write("attributes", kernel, 0);
  attributes->numRegs = registers[number_of(kernel)];
  attributes->sharedSizeBytes = static_cast<size_t>(static_bytes);
  return answer;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const bool is_share = attribute == cudaFuncAttributePreferredSharedMemoryCarveout;
  write(is_share ? "share" : "bytes", kernel, value);
  return last = is_share && refuses_shares ? cudaErrorNotSupported : answer;
}
cudaError_t cudaFuncGetName(const char** name, const void*) { return *name = "the_kernel", cudaSuccess; }
cudaError_t cudaGetLastError() {
  const cudaError_t error = last;
  return last = cudaSuccess, error;
}
const char* cudaGetErrorString(cudaError_t) { return "refused"; }
cudaError_t cudaHostAlloc(void**, size_t, unsigned) { return cudaErrorMemoryAllocation; }
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }

#define EXPORT __attribute__((visibility("default")))

// How the runtime behaves from now on.
EXPORT void set_card(int card) { current = card; }
EXPORT void set_kernel(int kernel, int needs, int fixed_bytes) {
  registers[kernel] = needs, static_bytes = fixed_bytes;
}
EXPORT void set_answer(int error, int no_shares) {
  answer = static_cast<cudaError_t>(error), refuses_shares = no_shares;
}
// What it was asked for since the last call.
EXPORT const char* take_calls() {
  static std::string taken;
  taken.swap(written);
  written.clear();
  return taken.c_str();
}
EXPORT int take_last_error() { return cudaGetLastError(); }
// As before a launch; an error's text, or an empty one.
EXPORT const char* tell(int kernel, int threads, int bytes) {
  message.clear();
  try {
    hgfast::cuda::tell_shared_memory(symbols + kernel, threads, bytes);
  } catch (const std::exception& error) {
    message = error.what();
  }
  return message.c_str();
}

}  // extern "C"
