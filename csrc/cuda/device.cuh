// The facts about the current device that launch decisions need.
#pragma once

#include <cstdlib>

#include "cuda/compat.cuh"
#include "cuda/switches.h"

namespace hgfast::cuda {

struct Device {
  int major;  // compute capability
  int multiprocessors;
  int shared_bytes;  // of one block at most; a multiprocessor has 1 KB more, and takes 1 KB for itself from each block
};

#ifdef HGFAST_EMULATOR
// A small Hopper card: few multiprocessors, so that persistent kernels take several tiles each.
inline Device current_device() { return {9, 4, 227 * 1024}; }
#else
// Queried once per device and process.
inline Device current_device() {
  constexpr int kMaxDevices = 64;
  static Device known[kMaxDevices] = {};
  int index = 0;
  check_cuda(cudaGetDevice(&index), "current device");
  Device device = index < kMaxDevices ? known[index] : Device{};
  if (device.multiprocessors == 0) {
    check_cuda(cudaDeviceGetAttribute(&device.major, cudaDevAttrComputeCapabilityMajor, index), "compute capability");
    check_cuda(cudaDeviceGetAttribute(&device.multiprocessors, cudaDevAttrMultiProcessorCount, index),
               "multiprocessors");
    check_cuda(cudaDeviceGetAttribute(&device.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, index),
               "shared memory of a block");
    if (index < kMaxDevices) known[index] = device;
  }
  return device;
}
#endif

}  // namespace hgfast::cuda
