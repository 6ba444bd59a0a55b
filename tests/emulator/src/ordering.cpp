// What orders the memory accesses of different blocks: __threadfence with atomics, and acquire/release flags.
//
// A release publishes what the thread knew at its latest fence; whoever updates or acquires the same flag later knows
// it too. An atomic counts as an acquire without a fence after it (the hardware's model wants one; CUDA's own samples
// rely on its absence).
#include <map>
#include <unordered_map>

#include "engine.h"
#include "global_memory.h"
#include "global_shadow.h"
#include "shared_shadow.h"

namespace hgfast::emu {

namespace {

struct Flag {
  std::map<uint32_t, ClockRow> released;  // by block, numbered from 1
};
std::unordered_map<const void*, Flag> g_flags;
uint32_t g_launch = 0;

Flag& flag_at(const void* address) {
  if (g_launch != engine.launch.id) g_flags.clear(), g_launch = engine.launch.id;
  return g_flags[address];
}

void acquire(const Flag& flag) {
  Block& block = *engine.block;
  const int me = engine.lane->index;
  const Clock now = block.clocks.tick(me);
  for (const auto& [other, clocks] : flag.released) {
    if (other == block.linear + 1)
      block.clocks.join(me, clocks);
    else
      block.acquired.push_back({other, clocks, me, now});
  }
}

void release(Flag& flag, const ClockRow& clocks) {
  Block& block = *engine.block;
  ClockRow& released = flag.released[block.linear + 1];
  released.resize(clocks.size(), 0);
  block.clocks.join(released.data(), clocks.data());
}

}  // namespace

void thread_fence() {
  if (!engine.checking) return;
  Clocks& clocks = engine.block->clocks;
  engine.lane->fence_clocks = clocks.copy(engine.lane->index);
  clocks.tick(engine.lane->index);
}

void note_atomic(void* address, size_t bytes) {
  ++engine.progress;
  ++engine.stats.atomics;
  if (!engine.lane || !engine.checking) return;
  const void* pc = __builtin_return_address(0);
  Block& block = *engine.block;
  if (block.shared.contains(address)) {  // ordered by the block's barriers only
    SharedAccess access{static_cast<uint32_t>(block.shared.offset_of(address)), bytes, true, engine.lane->index, pc};
    access.atomic = true;
    return block.shadow->note(block, access);
  }
  note_global(address, bytes, GlobalKind::kAtomic, pc);
  Flag& flag = flag_at(address);
  acquire(flag);
  if (!engine.lane->fence_clocks.empty()) release(flag, engine.lane->fence_clocks);
}

uint32_t load_acquire(const uint32_t* flag) {
  poll("ld.acquire", Site{});
  if (engine.checking) {
    note_global(flag, sizeof *flag, GlobalKind::kAtomic, __builtin_return_address(0));
    acquire(flag_at(flag));
  }
  return *flag;
}

void store_release(uint32_t* flag, uint32_t value) {
  ++engine.progress;
  if (engine.checking) {
    note_global(flag, sizeof *flag, GlobalKind::kAtomic, __builtin_return_address(0));
    Clocks& clocks = engine.block->clocks;
    release(flag_at(flag), clocks.copy(engine.lane->index));
    clocks.tick(engine.lane->index);
  }
  *flag = value;
}

}  // namespace hgfast::emu
