// What tests call through ctypes: the functions of tests/emulator's host_api.cpp, so that either runs the same tests.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "machine.h"
#include "regions.h"
#include "runtime.h"
#include "schedule.h"

using namespace hgfast::ptx;

namespace {

enum Order { kForward, kReverse, kShuffled };
enum Asynchronous { kLazy, kEager };

constexpr size_t kAlign = 256, kGranule = 16;

std::vector<std::unique_ptr<uint8_t[]>>& allocations() {
  static auto* const all = new std::vector<std::unique_ptr<uint8_t[]>>;
  return *all;
}

}  // namespace

#define HGFAST_EXPORT extern "C" __attribute__((visibility("default")))

// Memory of exactly `bytes` bytes, `phase` bytes behind a multiple of 16 that is a multiple of nothing more.
HGFAST_EXPORT void* hgfast_emulator_allocate(size_t bytes, size_t phase, size_t, const char* name) {
  allocations().emplace_back(new uint8_t[bytes + phase + kAlign + kGranule]);
  const auto raw = reinterpret_cast<uintptr_t>(allocations().back().get());
  auto* const memory = reinterpret_cast<uint8_t*>((raw + kAlign - 1) / kAlign * kAlign + kGranule + phase);
  std::memset(memory, 0xff, bytes);
  regions().add(memory, bytes, true, name);
  return memory;
}
HGFAST_EXPORT void hgfast_emulator_protect(void* memory, int access) { regions().set_writable(memory, access != 0); }
HGFAST_EXPORT void hgfast_emulator_free_all() {
  regions().clear();
  allocations().clear();
}
HGFAST_EXPORT void hgfast_emulator_schedule(int order, int asynchronous, uint64_t seed) {
  options.order = order == kShuffled ? static_cast<uint32_t>(seed) + 2 : static_cast<uint32_t>(order);
  options.lazy = asynchronous != kEager;
  if (const char* limit = std::getenv("HGFAST_PTX_LIMIT"))
    options.instruction_limit = std::strtoull(limit, nullptr, 10);
}

// What the latest failed launch said, where C++ between has dropped it.
HGFAST_EXPORT const char* hgfast_ptx_message() { return cudaGetErrorString(cudaErrorLaunchFailure); }

// Per cent of shared memory that a kernel with this in its name asked for; -1 if it did not.
HGFAST_EXPORT int hgfast_ptx_preferred_share(const char* text) { return preferred_share(text); }

// How many rounds of nothing but polling are no deadlock yet, and how many nanoseconds an instruction takes.
HGFAST_EXPORT void hgfast_ptx_waits(int patience, uint64_t clock_step) {
  options.patience = patience, options.clock_step = clock_step;
}

// Runs a kernel of PTX that is given as text; returns what is wrong, or null. shape: grid, block, cluster (x, y, z
// each), bytes of dynamic shared memory; limit: instructions of warps until it has no end.
HGFAST_EXPORT const char* hgfast_ptx_run(const char* text, const char* kernel, const uint32_t* shape,
                                         void* const* arguments, uint64_t limit) {
  static std::string message;
  options.instruction_limit = limit;
  auto dim = [&](int at) { return Dim{shape[at], shape[at + 1], shape[at + 2]}; };
  try {
    Module module{text};
    run_launch(module, kernel, dim(0), dim(3), dim(6), shape[9], arguments);
    return nullptr;
  } catch (const Error& error) {
    message = error.what();
    return message.c_str();
  }
}
HGFAST_EXPORT int hgfast_emulator_take_stats(uint64_t* counts) {
  constexpr size_t kCounts = sizeof(Stats) / sizeof(uint64_t);
  std::memcpy(counts, &stats, sizeof stats);
  stats = {};
  return kCounts;
}
