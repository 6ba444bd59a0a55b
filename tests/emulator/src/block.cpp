#include "block.h"

#include "barrier.h"
#include "engine.h"
#include "shared_shadow.h"

namespace hgfast::emu {

void OperationQueue::wait(int keep) {
  while (!pending.empty() && pending.front().group < group - keep) {
    auto finish = std::move(pending.front().finish);
    pending.pop_front();
    finish();
  }
}

namespace {

// A lane may not leave work behind that the hardware would still be doing.
void check_nothing_pending(const Block& block, const Lane& lane) {
  if (!lane.copies.pending.empty()) fail("the thread ends with cp.async copies that it never waited for");
  if (!lane.stores.pending.empty()) fail("the thread ends while bulk stores may still read its shared memory");
  const Warp& warp = block.warps[lane.warp];
  if (!warp.products.pending.empty()) fail("the warp ends with wgmma that it never waited for");
  for (uint32_t rest = warp.waiting; rest; rest &= rest - 1) {
    const Lane& other = block.lanes[lane.warp * kWarpLanes + __builtin_ctz(rest)];
    if (other.mask >> lane.lane & 1)
      fail("the thread ends while lane %d waits for it in %s at %s", other.lane, other.waits_for,
           where(other.site).c_str());
  }
}

void lane_main() {
  engine.launch.entry(engine.launch.arguments);
  Block& block = *engine.block;
  Lane& me = *engine.lane;
  check_nothing_pending(block, me);
  block.warps[me.warp].live &= ~(1u << me.lane);
  --block.live;
  ++engine.progress;
  release_if_complete(block);
  finish_lane();
}

}  // namespace

Block::Block() : lanes(kMaxThreads), shadow(std::make_unique<SharedShadow>()) {}
Block::~Block() = default;

void Block::start(uint32_t linear_index, const LaunchShape& shape, bool checking) {
  linear = linear_index;
  const dim3 grid = shape.grid, size = shape.block;
  id = {linear % grid.x, linear / grid.x % grid.y, linear / grid.x / grid.y};
  threads = live = static_cast<int>(size.x * size.y * size.z);
  warp_count = (threads + kWarpLanes - 1) / kWarpLanes;
  shared.reset(shape.dynamic_shared);
  for (Warp& warp : warps) warp = Warp{};
  for (Barrier& barrier : barriers) barrier = Barrier{};
  mbarriers.clear();
  bulk_copies.clear();
  acquired.clear();
  ready_warps = 0;
  current_warp = engine.schedule.order == Order::kReverse ? warp_count - 1 : 0;
  if (checking) {
    clocks.reset(threads);
    shadow->reset();
  }
  for (int i = 0; i < threads; ++i) {
    const auto u = static_cast<unsigned>(i);
    Lane& lane = lanes[i] = Lane{};
    lane.index = i, lane.warp = i / kWarpLanes, lane.lane = i % kWarpLanes;
    lane.id = {u % size.x, u / size.x % size.y, u / (size.x * size.y)};
    lane.sp = stacks.prepare(i, &lane_main);
    warps[lane.warp].exists |= 1u << lane.lane;
  }
  for (int w = 0; w < warp_count; ++w) {
    warps[w].live = warps[w].exists;
    make_ready(w, warps[w].exists);
  }
}

}  // namespace hgfast::emu
