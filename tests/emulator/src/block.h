// A thread block in flight: its threads, warps, barriers and shared memory.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "clocks.h"
#include "emulator/launch.h"
#include "emulator/runtime.h"
#include "fiber.h"
#include "shared_memory.h"

namespace hgfast::emu {

constexpr int kMaxThreads = 1024, kWarpLanes = 32, kMaxWarps = 32, kBarriers = 16;

// An asynchronous operation of one thread that a later wait completes.
struct PendingOperation {
  int group;
  std::function<void()> finish;
};

// A queue of such operations in groups (cp.async, bulk stores, wgmma).
struct OperationQueue {
  std::deque<PendingOperation> pending;
  int group = 0;

  void add(std::function<void()> finish) { pending.push_back({group, std::move(finish)}); }
  void commit() { ++group; }
  // Completes all but the latest `keep` committed groups.
  void wait(int keep);
};

// Accumulator registers of a wgmma in flight: using them before the wait is an error.
struct InFlight {
  const char *begin, *end;
  int group;
};

// One CUDA thread.
struct Lane {
  void* sp = nullptr;
  uint3 id{};
  int index = 0, warp = 0, lane = 0;
  bool done = false;
  // what it is waiting for
  const char* waits_for = nullptr;
  Site site;
  CollectiveBody body = nullptr;
  uint32_t mask = 0;
  void* arg = nullptr;
  Convergence convergence = Convergence::kAnyLine;
  const void* call = nullptr;  // return address of the collective's call, to find its source line
  // asynchronous work
  OperationQueue copies, stores;
  std::vector<InFlight> accumulators;
  // check build: the clocks at the latest __threadfence and fence.proxy.async
  ClockRow fence_clocks;
  Clock proxy_fence = 0;
};

struct Warp {
  uint32_t exists = 0, live = 0, ready = 0, waiting = 0, polling = 0;
  OperationQueue products;            // wgmma
  Clock products_done = 0;            // clock of the latest one that is complete
  std::vector<uint64_t> product_log;  // operands of every wgmma, to compare the four warps of a warpgroup
  bool fenced = false;                // wgmma.fence since the last wait
};

struct Barrier {
  int arrived = 0, expected = 0, first = 0;
  std::array<uint32_t, kMaxWarps> waiting{};
  Site site;
  ClockRow clocks;
};

struct Mbarrier {
  uint32_t address;
  int index, expected, pending, bytes = 0;
  uint32_t phase = 0;
  int creator;
  Clock created;
  std::vector<Lane*> waiting;
  ClockRow clocks, phase_clocks;
};

// What this block knows of another one, since one of its threads read a flag that the other had released.
struct Acquired {
  uint32_t block;
  ClockRow clocks;
  int actor;
  Clock when;
};

class SharedShadow;

struct Block {
  Block();
  ~Block();
  void start(uint32_t linear, const LaunchShape& shape, bool checking);

  uint32_t linear = 0;
  uint3 id{};
  int threads = 0, warp_count = 0, live = 0;
  std::vector<Lane> lanes;
  std::array<Warp, kMaxWarps> warps;
  std::array<Barrier, kBarriers> barriers;
  uint32_t ready_warps = 0;
  int current_warp = 0;
  SharedMemory shared;
  StackPool stacks{kMaxThreads};
  std::deque<Mbarrier> mbarriers;
  std::deque<std::function<void()>> bulk_copies;  // asynchronous copies that report to an mbarrier
  Clocks clocks;
  std::unique_ptr<SharedShadow> shadow;
  std::vector<Acquired> acquired;

  void make_ready(int warp, uint32_t lanes_mask) {
    warps[warp].ready |= lanes_mask;
    if (lanes_mask) ready_warps |= 1u << warp;
  }
  void make_ready(const Lane& lane) { make_ready(lane.warp, 1u << lane.lane); }
};

}  // namespace hgfast::emu
