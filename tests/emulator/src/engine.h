// The one launch that is running, and how it is scheduled.
#pragma once

#include <cstdint>
#include <string>

#include "block.h"

namespace hgfast::emu {

enum class Order { kForward, kReverse, kShuffled };
// When asynchronous work happens: at the last legal moment, at once, or either by chance.
enum class Async { kLazy, kEager, kMixed };

struct Schedule {
  Order order = Order::kForward;
  Async async = Async::kLazy;
  uint64_t seed = 1;
};

// Counts of the launches since the last reset.
struct Stats {
  uint64_t launches, blocks, barriers, cp_async, ldmatrix, ldmatrix_conflicts, stmatrix, mma, wgmma, tma_loads,
      tma_stores, atomics;
};

struct Launch {
  LaunchShape shape;
  const void* kernel;
  void (*entry)(void*);
  void* arguments;
  size_t argument_bytes;
  uint32_t id;
};

struct Engine {
  Schedule schedule;
  Launch launch{};
  Stats stats{};
  Block* block = nullptr;
  Lane* lane = nullptr;  // the running thread; null while the scheduler itself runs
  void* scheduler_sp = nullptr;
  std::string error;
  uint64_t random_state = 1;
  uint64_t progress = 0;  // counts events that another block's polling thread may wait for
  // Kernels are instrumented. Static: set by a constructor that may run before that of `engine`.
  static inline bool checking = false;
};
extern Engine engine;

uint32_t random_below(uint32_t n);
bool defer_async();

// Runs others until somebody has made the current lane ready again.
void suspend(const char* what, Site site);
// Gives others a turn, those of other blocks too.
void poll(const char* what, Site site);
// Continues in the scheduler, for good: the current lane is done or has failed.
[[noreturn]] void leave_lane();
[[noreturn]] void fail_deadlock(Block& block);
void finish_lane();
// Runs lanes of the block until it is done, fails, or only polling threads are left.
void resume(Block& block);

std::string where(Site site);
std::string describe_thread(const Block& block, int index);
std::string describe_address(const void* address);
std::string kernel_name(const void* kernel);
std::string source_line(const void* return_address);

}  // namespace hgfast::emu
