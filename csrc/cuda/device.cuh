// The facts about the current device that launch decisions need.
#pragma once

#include <utility>

#include "cuda/device.h"
#include "cuda/switches.h"

#ifndef HGFAST_EMULATOR
#include "cuda/errors.cuh"
#endif

namespace hgfast::cuda {

#ifdef HGFAST_EMULATOR
// A small Hopper card: few multiprocessors, so that persistent kernels take several tiles each.
inline Device current_device() { return {9, 0, 4, 227 * 1024, 228 * 1024, 65536, 2048}; }
#else
inline int current_device_index() {
  int index = 0;
  check_cuda(cudaGetDevice(&index), "current device");
  return index;
}

// Queried once per device and process.
inline Device current_device() {
  constexpr int kMaxDevices = 64;
  static Device known[kMaxDevices] = {};
  const int index = current_device_index();
  Device device = index < kMaxDevices ? known[index] : Device{};
  if (device.multiprocessors == 0) {
    const std::pair<cudaDeviceAttr, int*> facts[] = {
        {cudaDevAttrComputeCapabilityMajor, &device.major},
        {cudaDevAttrComputeCapabilityMinor, &device.minor},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, &device.shared_bytes},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, &device.shared_bytes_all},
        {cudaDevAttrMaxRegistersPerMultiprocessor, &device.registers},
        {cudaDevAttrMaxThreadsPerMultiProcessor, &device.threads},
        {cudaDevAttrMultiProcessorCount, &device.multiprocessors},
    };
    for (const auto& [attribute, value] : facts)
      check_cuda(cudaDeviceGetAttribute(value, attribute, index), "attribute of the device");
    if (index < kMaxDevices) known[index] = device;
  }
  return device;
}
#endif

}  // namespace hgfast::cuda
