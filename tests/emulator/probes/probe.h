// A probe is an extern "C" function that launches one kernel: called through ctypes, on a GPU or in the emulator.
#pragma once

#include <cstdio>
#include <exception>

#include "cuda/compat.cuh"

// The message of the latest failure; probes return 0 when they succeed.
inline char (&probe_error())[4096] {
  static char text[4096];
  return text;
}

template <class F>
int run_probe(const F& f) {
  try {
    f();
#ifndef HGFAST_EMULATOR
    hgfast::cuda::check_cuda(cudaDeviceSynchronize(), "probe");
#endif
    return 0;
  } catch (const std::exception& error) {
    std::snprintf(probe_error(), sizeof probe_error(), "%s", error.what());
    return 1;
  }
}

#define HG_PROBE_EXPORT extern "C" __attribute__((visibility("default")))
#define HG_PROBE(NAME, PARAMETERS, KERNEL, GRID, BLOCK, SMEM, ...)                                            \
  HG_PROBE_EXPORT int probe_##NAME PARAMETERS {                                                               \
    return run_probe([&] { ::hgfast::cuda::launch(KERNEL, dim3(GRID), dim3(BLOCK), SMEM, 0, __VA_ARGS__); }); \
  }
