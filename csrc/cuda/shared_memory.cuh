// What the driver is told of a kernel's dynamic shared memory, once for each kernel and device.
//
// A multiprocessor's L1 cache and its shared memory are one memory, which the driver divides. Left to itself it may
// give a kernel room for fewer blocks than registers and threads would let run together; so it is asked for room for as
// many as those let run. It takes the next larger size that the card can set.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "cuda/device.cuh"

namespace hgfast::cuda {

// Per cent of a multiprocessor's shared memory that a kernel's blocks take together; shared_bytes: of one block.
inline int shared_memory_share(const Device& device, int block_threads, int registers, int shared_bytes) {
  const int64_t blocks = std::max(1, device.resident_blocks(block_threads, registers, shared_bytes));
  const int64_t bytes = blocks * (shared_bytes + Device::kReservedShared), all = device.shared_bytes_all;
  return static_cast<int>(std::min<int64_t>(100, (100 * bytes + all - 1) / all));
}

// A kernel on a device, and what the driver was told of it.
struct SharedMemoryUse {
  int registers = 0, static_bytes = 0;
  int allowed = 48 * 1024;  // bytes of dynamic shared memory, of a block
  int share = 0;            // that was asked for
};

// Before a launch with dynamic shared memory. Sizes that differ from launch to launch raise what was told before.
inline void tell_shared_memory(const void* kernel, int block_threads, int dynamic_bytes) {
  static std::mutex mutex;
  static auto* const known = new std::map<std::pair<const void*, int>, SharedMemoryUse>;  // outlives all launches
  const std::lock_guard<std::mutex> lock(mutex);
  SharedMemoryUse& use = (*known)[{kernel, current_device_index()}];
  if (use.registers == 0) {
    cudaFuncAttributes attributes = {};
    check_cuda(cudaFuncGetAttributes(&attributes, kernel), "attributes of " + kernel_symbol(kernel));
    use.registers = std::max(1, attributes.numRegs);
    use.static_bytes = static_cast<int>(attributes.sharedSizeBytes);
  }
  if (dynamic_bytes > use.allowed) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, dynamic_bytes),
               "shared memory of " + kernel_symbol(kernel));
    use.allowed = dynamic_bytes;
  }
  const int share =
      shared_memory_share(current_device(), block_threads, use.registers, use.static_bytes + dynamic_bytes);
  if (share > use.share) {  // a wish: where the driver does not take it, the kernel runs without
    use.share = share;
    if (cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, share) != cudaSuccess)
      cudaGetLastError();
  }
}

}  // namespace hgfast::cuda
