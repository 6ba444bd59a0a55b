// mbarrier: phases that end when all arrivals and all expected bytes are in.
#include "mbarrier.h"

#include "emulator/ptx_barrier.h"
#include "engine.h"

namespace hgfast::emu {

namespace {

void end_phase_if_complete(Mbarrier& barrier) {
  if (barrier.pending || barrier.bytes) return;
  ++barrier.phase;
  barrier.pending = barrier.expected;
  barrier.phase_clocks = barrier.clocks;
  ++engine.progress;
  for (Lane* lane : barrier.waiting) engine.block->make_ready(*lane);
  barrier.waiting.clear();
}

// mbarrier.try_wait(parity) succeeds once the phase of that parity is over.
bool is_over(const Mbarrier& barrier, uint32_t parity) { return (barrier.phase & 1) != (parity & 1); }

}  // namespace

Mbarrier& mbarrier_at(uint32_t address) {
  Block& block = *engine.block;
  for (Mbarrier& barrier : block.mbarriers) {
    if (barrier.address != address) continue;
    if (engine.checking && engine.lane && !block.clocks.seen(engine.lane->index, barrier.creator, barrier.created))
      fail("the mbarrier at shared 0x%x is used with no barrier since %s initialised it", address,
           describe_thread(block, barrier.creator).c_str());
    return barrier;
  }
  fail("the mbarrier at shared 0x%x was never initialised", address);
}

void mbarrier_init(uint32_t address, int arrivals) {
  Block& block = *engine.block;
  if (address % 8 || !block.shared.valid(address, 8))
    fail("mbarrier at shared 0x%x: not 8 aligned bytes of a shared array", address);
  if (arrivals < 1) fail("mbarrier for %d arrivals", arrivals);
  const int index = static_cast<int>(block.mbarriers.size());
  if (index == Clocks::kMaxMbarriers) fail("more than %d mbarriers", Clocks::kMaxMbarriers);
  for (const Mbarrier& barrier : block.mbarriers)
    if (barrier.address == address) fail("the mbarrier at shared 0x%x is initialised twice", address);
  Mbarrier barrier{};
  barrier.address = address;
  barrier.index = index;
  barrier.expected = barrier.pending = arrivals;
  barrier.creator = engine.lane->index;
  if (engine.checking) {
    barrier.created = block.clocks.now(barrier.creator);
    barrier.clocks.assign(block.clocks.width(), 0);
    block.clocks.tick(barrier.creator);
  }
  block.mbarriers.push_back(std::move(barrier));
}

void mbarrier_arrive(uint32_t address) {
  Mbarrier& barrier = mbarrier_at(address);
  if (!barrier.pending)
    fail("the mbarrier at shared 0x%x gets more than its %d arrivals in one phase", address, barrier.expected);
  if (engine.checking) engine.block->clocks.publish(barrier.clocks, engine.lane->index);
  --barrier.pending;
  end_phase_if_complete(barrier);
}

void mbarrier_expect_bytes(uint32_t address, int bytes) {
  constexpr int kMaxBytes = (1 << 20) - 1;
  Mbarrier& barrier = mbarrier_at(address);
  barrier.bytes += bytes;
  if (barrier.bytes > kMaxBytes) fail("the mbarrier at shared 0x%x expects %d bytes", address, barrier.bytes);
}

void mbarrier_wait(uint32_t address, uint32_t parity, Site site) {
  Mbarrier& barrier = mbarrier_at(address);
  while (!is_over(barrier, parity)) {
    barrier.waiting.push_back(engine.lane);
    suspend("mbarrier wait", site);
  }
  if (engine.checking && barrier.phase) engine.block->clocks.join(engine.lane->index, barrier.phase_clocks);
}

void mbarrier_deliver(Mbarrier& barrier, int bytes) {
  Clocks& clocks = engine.block->clocks;
  if (engine.checking) clocks.publish(barrier.clocks, clocks.mbarrier_actor(barrier.index));
  barrier.bytes -= bytes;
  if (barrier.bytes < 0 && !barrier.pending)
    fail("the mbarrier at shared 0x%x gets %d bytes more than it expects", barrier.address, -barrier.bytes);
  end_phase_if_complete(barrier);
}

void fence_proxy_async() {
  if (!engine.checking) return;
  engine.lane->proxy_fence = engine.block->clocks.now(engine.lane->index);
  engine.block->clocks.tick(engine.lane->index);
}

}  // namespace hgfast::emu
