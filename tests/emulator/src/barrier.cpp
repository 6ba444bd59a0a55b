// __syncthreads and named barriers, with what they order.
#include "barrier.h"

#include <cstring>

#include "engine.h"

namespace hgfast::emu {

namespace {

bool same(Site a, Site b) { return a.line == b.line && (a.file == b.file || !std::strcmp(a.file, b.file)); }

void release(Block& block, Barrier& barrier) {
  for (int w = 0; w < block.warp_count; ++w) {
    if (engine.checking) {
      for (uint32_t rest = barrier.waiting[w]; rest; rest &= rest - 1)
        block.clocks.join(w * kWarpLanes + __builtin_ctz(rest), barrier.clocks);
    }
    block.make_ready(w, barrier.waiting[w]);
  }
  barrier = Barrier{};
  ++engine.progress;
  ++engine.stats.barriers;
}

void check_agreement(const Block& block, const Barrier& barrier, int threads, const char* what, Site site) {
  if (threads % kWarpLanes || threads > block.warp_count * kWarpLanes)
    fail("%s at %s: %d threads is not a whole number of the block's warps", what, where(site).c_str(), threads);
  if (!barrier.arrived) return;
  const std::string first = describe_thread(block, barrier.first) + " at " + where(barrier.site);
  if (barrier.expected != threads)
    fail("%s at %s waits for %d threads, %s for %d", what, where(site).c_str(), threads, first.c_str(),
         barrier.expected);
  if (!threads && !same(barrier.site, site))
    fail("divergent %s: this thread is at %s, %s", what, where(site).c_str(), first.c_str());
}

}  // namespace

void release_if_complete(Block& block) {
  Barrier& barrier = block.barriers[0];
  if (barrier.arrived && !barrier.expected && barrier.arrived == block.live) release(block, barrier);
}

void block_barrier(int id, int threads, BarrierMode mode, const char* what, Site site) {
  Block& block = *engine.block;
  Lane& me = *engine.lane;
  if (id < 0 || id >= kBarriers) fail("%s at %s: barrier %d, there are 0 to 15", what, where(site).c_str(), id);
  Barrier& barrier = block.barriers[id];
  check_agreement(block, barrier, threads, what, site);
  if (!barrier.arrived) barrier.site = site, barrier.first = me.index, barrier.expected = threads;
  ++barrier.arrived;
  if (engine.checking) block.clocks.publish(barrier.clocks, me.index);
  if (mode == BarrierMode::kSync) barrier.waiting[me.warp] |= 1u << me.lane;
  if (barrier.arrived == (threads ? threads : block.live)) release(block, barrier);
  // the last one to arrive is ready, and goes through the scheduler like the others
  if (mode == BarrierMode::kSync) suspend(what, site);
}

}  // namespace hgfast::emu
