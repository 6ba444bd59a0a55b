// Runs a grid: block after block, and several at a time where blocks wait for one another.
#include "emulator/launch.h"

#include <deque>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "engine.h"
#include "errors.h"
#include "global_memory.h"

namespace hgfast::emu {

namespace {

constexpr size_t kMaxResident = 64;  // blocks in flight at once, where they wait for one another
// How often all resident blocks may poll while nothing happens that they could see, before it is a deadlock.
constexpr int kIdleRounds = 1000;

std::vector<std::unique_ptr<Block>> g_idle_blocks;

std::unique_ptr<Block> take_block() {
  if (g_idle_blocks.empty()) return std::make_unique<Block>();
  auto block = std::move(g_idle_blocks.back());
  g_idle_blocks.pop_back();
  return block;
}

std::vector<uint32_t> block_order(uint32_t count) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (engine.schedule.order == Order::kReverse) return {order.rbegin(), order.rend()};
  if (engine.schedule.order == Order::kShuffled)
    for (uint32_t i = count; i > 1; --i) std::swap(order[i - 1], order[random_below(i)]);
  return order;
}

// What a block must not leave behind.
void check_finished(Block& block) {
  const std::string overrun = block.shared.overrun();
  if (!overrun.empty()) fail("block %u: %s", block.linear, overrun.c_str());
  if (!block.bulk_copies.empty()) fail("block %u ended with bulk copies in flight", block.linear);
  for (const Mbarrier& barrier : block.mbarriers) {
    if (barrier.pending != barrier.expected || barrier.bytes)
      fail("block %u ended with the mbarrier at shared 0x%x in mid-phase: %d of %d arrivals and %d bytes are missing",
           block.linear, barrier.address, barrier.pending, barrier.expected, barrier.bytes);
  }
  for (int w = 0; w < block.warp_count; ++w) {
    if (block.warps[w].product_log != block.warps[w / 4 * 4].product_log)
      fail("block %u: warps %d and %d of one warpgroup issued different wgmma or descriptors", block.linear, w / 4 * 4,
           w);
  }
}

bool has_polling(const Block& block) {
  for (int w = 0; w < block.warp_count; ++w)
    if (block.warps[w].polling) return true;
  return false;
}

// The blocks of one launch that have started and not ended.
class Residents {
 public:
  explicit Residents(std::vector<uint32_t> order) : order_(std::move(order)) {}

  void run() {
    while (next_ < order_.size() || !blocks_.empty()) {
      const bool start_another = next_ < order_.size() && blocks_.size() < kMaxResident && !fresh_result_;
      if (start_another) start();
      auto block = std::move(blocks_.front());
      blocks_.pop_front();
      step(std::move(block));
    }
  }

 private:
  void start() {
    blocks_.push_front(take_block());
    blocks_.front()->start(order_[next_++], engine.launch.shape, engine.checking);
    ++engine.stats.blocks;
  }

  void step(std::unique_ptr<Block> block) {
    const uint64_t before = engine.progress;
    resume(*block);
    if (!engine.error.empty()) throw std::runtime_error(engine.error);
    if (!block->live) {
      check_finished(*block);
      g_idle_blocks.push_back(std::move(block));
      idle_ = 0;
      fresh_result_ = !blocks_.empty();  // those that wait may go on now
      return;
    }
    if (!has_polling(*block)) fail_deadlock(*block);
    idle_ = engine.progress == before ? idle_ + 1 : 0;
    const size_t limit = kIdleRounds * (blocks_.size() + 1);
    if (next_ == order_.size() && idle_ > limit) fail_deadlock(*block);
    if (blocks_.size() + 1 == kMaxResident && idle_ > limit) fail_deadlock(*block);
    blocks_.push_back(std::move(block));
    fresh_result_ = false;
  }

  std::vector<uint32_t> order_;
  size_t next_ = 0;
  std::deque<std::unique_ptr<Block>> blocks_;
  size_t idle_ = 0;
  bool fresh_result_ = false;
};

void check_shape(const LaunchShape& shape, size_t argument_bytes) {
  const dim3 g = shape.grid, b = shape.block;
  const uint64_t threads = uint64_t{b.x} * b.y * b.z, blocks = uint64_t{g.x} * g.y * g.z;
  if (!threads || threads > kMaxThreads || b.z > 64) fail("block of %u x %u x %u threads", b.x, b.y, b.z);
  if (!blocks || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535) fail("grid of %u x %u x %u blocks", g.x, g.y, g.z);
  if (shape.dynamic_shared > SharedMemory::kLimit)
    fail("%zu bytes of dynamic shared memory, there are %zu", shape.dynamic_shared, SharedMemory::kLimit);
  if (argument_bytes > 4096 + sizeof(void*)) fail("%zu bytes of arguments, there may be 4096", argument_bytes);
}

}  // namespace

void run_grid(const LaunchShape& shape, const void* kernel, void (*entry)(void*), void* arguments,
              size_t argument_bytes) {
  static uint32_t launches = 0;
  if (engine.lane) fail("a kernel launches a kernel");
  engine.launch = {shape, kernel, entry, arguments, argument_bytes, ++launches};
  engine.error.clear();
  engine.random_state = engine.schedule.seed * 0x9E3779B97F4A7C15ull + 1;
  ++engine.stats.launches;
  check_shape(shape, argument_bytes);
  gridDim = shape.grid;
  blockDim = shape.block;
  {
    SignalGuard guard;
    Residents(block_order(shape.grid.x * shape.grid.y * shape.grid.z)).run();
  }
  check_canaries();
  engine.launch.kernel = nullptr;
}

}  // namespace hgfast::emu
