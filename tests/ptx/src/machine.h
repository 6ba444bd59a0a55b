// The machine that runs a launch: warps with their registers and lanes, blocks with shared memory, clusters.
#pragma once

#include <array>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "error.h"
#include "program.h"

namespace hgfast::ptx {

constexpr int kLanes = 32, kBarriers = 16, kWarpgroup = 4;
constexpr uint32_t kAllLanes = ~0u;

struct Block;
struct Cluster;

// When asynchronous work is done, and in which order blocks and warps take their turns.
struct Options {
  bool lazy = true;                            // as late as the program allows, else at once
  uint32_t order = 0;                          // 0 forward, 1 reverse, else shuffled with this seed
  uint64_t instruction_limit = 4'000'000'000;  // of a launch ($HGFAST_PTX_LIMIT)
  int patience = 1'000;                        // rounds in which all warps poll, before that is a deadlock
  uint64_t clock_step = 4;                     // nanoseconds, or clocks, that an instruction takes
};
extern Options options;

// In the order of tests/emulator/memory.py's STATS.
struct Stats {
  uint64_t launches = 0, blocks = 0, barriers = 0, cp_async = 0, ldmatrix = 0, ldmatrix_conflicts = 0, stmatrix = 0,
           mma = 0, wgmma = 0, tma_loads = 0, tma_stores = 0, atomics = 0;
};
extern Stats stats;

struct Launch {
  Module& module;
  Entry& entry;
  Dim grid, block, cluster;
  uint32_t dynamic_shared;
  uint8_t* parameters;
  uint64_t instructions = 0;  // of warps, so far

  uint32_t warps() const { return static_cast<uint32_t>((block.count() + kLanes - 1) / kLanes); }
};

// Lanes of a warp at one place of the program. A warp is one such group until its lanes take different branches.
struct LaneGroup {
  uint32_t pc, mask;
  bool waits = false;  // for the lanes that its instruction needs
  bool polls = false;  // it has yielded in this turn
};

// What one thread has started and will wait for, in groups (cp.async, bulk stores).
class Deferred {
 public:
  void add(std::function<void()> finish) { open_.push_back(std::move(finish)); }
  void commit();
  // Finishes all but the latest `keep` groups.
  void wait(size_t keep);
  // Finishes everything, what was not committed too.
  void finish();
  bool empty() const { return open_.empty() && groups_.empty(); }

 private:
  std::vector<std::function<void()>> open_;
  std::deque<std::vector<std::function<void()>>> groups_;
};

// A wgmma that a warp has issued (wgmma.cpp).
struct Product {
  const Instruction* instruction;
  uint64_t a, b;
  bool accumulate;
};

struct ProductQueue {
  std::deque<Product> issued;                // not computed yet
  std::deque<const Instruction*> in_flight;  // not waited for yet
  std::deque<uint64_t> groups;               // number of products issued when each group was committed
  uint64_t count = 0, computed = 0, landed = 0;
  bool fenced = false;        // wgmma.fence since the last wait for all
  std::vector<uint8_t> uses;  // of registers, by 64 bytes: 1 accumulator, 2 operand of a product in flight
};

struct Warp {
  Block* block = nullptr;
  uint32_t id = 0, pc = 0;
  uint32_t exists = 0, live = 0;  // lanes that there are, that have not ended
  uint32_t active = 0;            // lanes that execute the instruction
  std::vector<LaneGroup> groups;
  uint8_t* registers = nullptr;
  std::vector<uint8_t> local;  // of all lanes
  // What it waits for after Step::kWait: tells whether that has come.
  std::function<bool()> waits;
  std::string waits_for;
  uint32_t cluster_phase = 0;
  std::array<Deferred, kLanes> copies, stores;
  ProductQueue products;
  uint32_t register_budget = 0;  // of each thread (setmaxnreg)

  template <class T>
  T* at(Register r) {
    return reinterpret_cast<T*>(registers + r);
  }
  template <class T>
  const T* at(Register r) const {
    return reinterpret_cast<const T*>(registers + r);
  }
  uint32_t predicate(Register r) const { return *at<uint32_t>(r); }
  // Writes the active lanes' bits.
  void set_predicate(Register r, uint32_t bits) {
    uint32_t& p = *at<uint32_t>(r);
    p = (p & ~active) | (bits & active);
  }
  // The address that a lane gives: a register of 4 or 8 bytes, and a displacement.
  uint64_t address(Register base, bool narrow, int64_t displacement, int lane) const {
    const uint64_t at_base = narrow ? at<uint32_t>(base)[lane] : at<uint64_t>(base)[lane];
    return at_base + static_cast<uint64_t>(displacement);
  }
  bool ended() const { return live == 0; }
  int first_lane() const { return __builtin_ctz(active); }
};

// Barrier of `bar` and `barrier` (PTX ISA, "bar, barrier").
struct Barrier {
  uint32_t arrived = 0, expected = 0, generation = 0;
  uint32_t any = 0, all = 1, count = 0;                       // of bar.red, so far
  uint32_t result_any = 0, result_all = 0, result_count = 0;  // of the latest generation
};

// A copy of the tensor memory accelerator that will report to an mbarrier.
struct BulkCopy {
  const uint8_t* mbarrier;
  std::function<void()> run;
};

struct Block {
  Launch* launch = nullptr;
  Cluster* cluster = nullptr;
  Dim index;
  uint32_t rank = 0;  // in the cluster
  uint8_t* shared = nullptr;
  uint32_t shared_bytes = 0;
  std::vector<std::unique_ptr<Warp>> warps;
  std::array<Barrier, kBarriers> barriers;
  std::vector<BulkCopy> bulk_copies;
  int64_t spare_registers = 0;  // that setmaxnreg.dec gave back

  bool holds(uint64_t generic) const {
    const auto begin = reinterpret_cast<uint64_t>(shared);
    return generic >= begin && generic < begin + shared_bytes;
  }
};

struct Cluster {
  std::vector<std::unique_ptr<Block>> blocks;
  uint32_t arrived = 0, phase = 0;  // of barrier.cluster

  bool ended() const;
};

// Calls f(lane) for the active lanes; GCC makes vectors of it where all are.
template <class F>
inline void for_lanes(const Warp& w, const F& f) {
  if (w.active == kAllLanes) {
#pragma GCC ivdep
    for (int lane = 0; lane < kLanes; ++lane) f(lane);
  } else {
    for (uint32_t left = w.active; left; left &= left - 1) f(__builtin_ctz(left));
  }
}

// The value of a register that must be the same in all active lanes.
uint32_t uniform(const Warp& w, Register r);

}  // namespace hgfast::ptx
