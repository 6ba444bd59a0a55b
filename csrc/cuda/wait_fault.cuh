// The note that a thread leaves when it has waited too long for an mbarrier, before it traps. It lies in host memory,
// which outlives the context that a trap ends; printf is no way, since ptxas serialises wgmma in a kernel with calls.
#pragma once

#include <string>

#ifndef HGFAST_EMULATOR
#include <cuda_runtime.h>
#endif

namespace hgfast::cuda {

struct WaitFault {
  unsigned is_set, block, thread, barrier, parity;  // barrier: its address in shared memory
};

#ifdef HGFAST_EMULATOR
inline WaitFault* wait_fault() { return nullptr; }  // the emulator finds deadlocks by itself
#else
// Made at the first use, for all devices of the process; null where it cannot be had. Allocating is no part of a
// capture that may be going on.
inline WaitFault* wait_fault() {
  static WaitFault* const fault = [] {
    void* memory = nullptr;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    cudaThreadExchangeStreamCaptureMode(&mode);
    if (cudaHostAlloc(&memory, sizeof(WaitFault), cudaHostAllocPortable | cudaHostAllocMapped) != cudaSuccess) {
      cudaGetLastError();
      memory = nullptr;
    }
    cudaThreadExchangeStreamCaptureMode(&mode);
    if (memory != nullptr) *static_cast<WaitFault*>(memory) = {};
    return static_cast<WaitFault*>(memory);
  }();
  return fault;
}
#endif

// What a thread that gave up waiting has noted; empty if none has.
inline std::string wait_fault_text() {
  const volatile WaitFault* fault = wait_fault();
  if (fault == nullptr || !fault->is_set) return "";
  return "block " + std::to_string(fault->block) + ", thread " + std::to_string(fault->thread) +
         " waited too long for the mbarrier at shared address " + std::to_string(fault->barrier) + ", parity " +
         std::to_string(fault->parity);
}

}  // namespace hgfast::cuda
