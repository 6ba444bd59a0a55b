// Which thread runs next: lanes of one warp until they wait, then the next warp; forward, reverse or shuffled.
#include <map>

#include "engine.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace hgfast::emu {

Engine engine;

namespace {

int lowest(uint32_t bits) { return __builtin_ctz(bits); }
int highest(uint32_t bits) { return 31 - __builtin_clz(bits); }

int nth_bit(uint32_t bits, uint32_t n) {
  while (n--) bits &= bits - 1;
  return lowest(bits);
}

// The next warp in the schedule's order, after the current one has nothing to run.
int next_warp(const Block& block) {
  const uint32_t ready = block.ready_warps;
  if (engine.schedule.order == Order::kForward) {
    const uint32_t later = ready & ~((2u << block.current_warp) - 1);
    return lowest(later ? later : ready);
  }
  const uint32_t earlier = ready & ((1u << block.current_warp) - 1);
  return highest(earlier ? earlier : ready);
}

Lane* pick(Block& block) {
  if (!block.ready_warps) return nullptr;
  int lane;
  if (engine.schedule.order == Order::kShuffled) {
    block.current_warp = nth_bit(block.ready_warps, random_below(__builtin_popcount(block.ready_warps)));
    const uint32_t ready = block.warps[block.current_warp].ready;
    lane = nth_bit(ready, random_below(__builtin_popcount(ready)));
  } else {
    if (!block.warps[block.current_warp].ready) block.current_warp = next_warp(block);
    const uint32_t ready = block.warps[block.current_warp].ready;
    lane = engine.schedule.order == Order::kForward ? lowest(ready) : highest(ready);
  }
  Warp& warp = block.warps[block.current_warp];
  warp.ready &= ~(1u << lane);
  if (!warp.ready) block.ready_warps &= ~(1u << block.current_warp);
  return &block.lanes[block.current_warp * kWarpLanes + lane];
}

bool run_bulk_copy(Block& block) {
  if (block.bulk_copies.empty()) return false;
  auto copy = std::move(block.bulk_copies.front());
  block.bulk_copies.pop_front();
  copy();
  return true;
}

void enter(Lane& lane, void** save) {
  engine.lane = &lane;
  threadIdx = lane.id;
  hgfast_emulator_switch(save, lane.sp);
}

void leave_to_scheduler(void** save) {
  engine.lane = nullptr;
  hgfast_emulator_switch(save, engine.scheduler_sp);
}

void run_others(Lane& me) {
  Block& block = *engine.block;
  if (engine.schedule.async == Async::kMixed && random_below(8) == 0) run_bulk_copy(block);
  Lane* next = pick(block);
  while (!next && run_bulk_copy(block)) next = pick(block);
  if (!next) return leave_to_scheduler(&me.sp);
  if (next != &me) enter(*next, &me.sp);
}

}  // namespace

uint32_t random_below(uint32_t n) {
  uint64_t& x = engine.random_state;  // xorshift64
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return static_cast<uint32_t>(x >> 16) % n;
}

bool defer_async() {
  if (engine.schedule.async == Async::kMixed) return random_below(2) == 0;
  return engine.schedule.async == Async::kLazy;
}

void suspend(const char* what, Site site) {
  Lane& me = *engine.lane;
  me.waits_for = what;
  me.site = site;
  run_others(me);
  me.waits_for = nullptr;
}

void poll(const char* what, Site site) {
  Lane& me = *engine.lane;
  engine.block->warps[me.warp].polling |= 1u << me.lane;
  suspend(what, site);
}

void leave_lane() {
  void* unused;
  leave_to_scheduler(&unused);
  __builtin_unreachable();
}

void finish_lane() {
  Lane& me = *engine.lane;
  me.done = true;
  run_others(me);
  __builtin_unreachable();
}

void resume(Block& block) {
  engine.block = &block;
  blockIdx = block.id;
  for (int w = 0; w < block.warp_count; ++w) {
    block.make_ready(w, block.warps[w].polling);
    block.warps[w].polling = 0;
  }
  Lane* next = pick(block);
  if (!next) fail_deadlock(block);
  enter(*next, &engine.scheduler_sp);
}

void fail_deadlock(Block& block) {
  std::map<std::string, int> counts;
  const Lane* example = nullptr;
  for (int i = 0; i < block.threads; ++i) {
    const Lane& lane = block.lanes[i];
    if (!lane.done && !example) example = &lane;
    ++counts[lane.done ? "exited"
                       : std::string(lane.waits_for ? lane.waits_for : "running") + " at " + where(lane.site)];
  }
  std::string text;
  for (const auto& [state, count] : counts) text += " [" + std::to_string(count) + " threads: " + state + "]";
  engine.block = &block;
  fail("deadlock in block (%u,%u,%u), first at %s:%s", block.id.x, block.id.y, block.id.z,
       describe_thread(block, example ? example->index : 0).c_str(), text.c_str());
}

}  // namespace hgfast::emu
