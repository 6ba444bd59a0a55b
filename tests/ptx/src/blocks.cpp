// Blocks: how their memory and registers look when they start, and what must be finished when they end.
#include <algorithm>
#include <cstdlib>

#include "schedule.h"
#include "special_registers.h"

namespace hgfast::ptx {

namespace {

constexpr uint8_t kPoison = 0xff;  // NaN, -1: memory and registers that nobody wrote
constexpr uint32_t kSharedAlign = 1024, kRegistersOfBlock = 65536, kMostRegisters = 256;

// Memory that one block or warp after another uses.
class Pool {
 public:
  uint8_t* take(size_t bytes) {
    if (bytes > bytes_) {
      for (uint8_t* memory : free_) std::free(memory);
      free_.clear();
      bytes_ = (bytes + kSharedAlign - 1) / kSharedAlign * kSharedAlign;
    }
    if (free_.empty()) return static_cast<uint8_t*>(std::aligned_alloc(kSharedAlign, bytes_));
    uint8_t* const memory = free_.back();
    free_.pop_back();
    return memory;
  }
  // Memory of an earlier, smaller size is freed.
  void give(uint8_t* memory, size_t bytes) {
    if (bytes <= bytes_ && memory) free_.push_back(memory);
  }

 private:
  std::vector<uint8_t*> free_;
  size_t bytes_ = 0;
};

void fill(Warp& w, const Preset& p, uint64_t value) {
  if (p.bytes == 0) {
    *w.at<uint32_t>(p.where) = static_cast<uint32_t>(value);
    return;
  }
  const auto bytes = static_cast<size_t>(p.bytes);
  for (size_t l = 0; l < kLanes; ++l) std::memcpy(w.at<uint8_t>(p.where) + l * bytes, &value, bytes);
}

void fill_lanes(Warp& w, const Preset& p, uint64_t (*value)(const Warp&, uint64_t, int)) {
  const auto bytes = static_cast<size_t>(p.bytes);
  for (int l = 0; l < kLanes; ++l) {
    const uint64_t v = value(w, p.value, l);
    std::memcpy(w.at<uint8_t>(p.where) + static_cast<size_t>(l) * bytes, &v, bytes);
  }
}

void fill_presets(Warp& w) {
  const Launch& launch = *w.block->launch;
  for (const Preset& p : launch.entry.presets) {
    switch (p.kind) {
      case Preset::kConstant:
        fill(w, p, p.value);
        break;
      case Preset::kParam:
        fill(w, p, reinterpret_cast<uint64_t>(launch.parameters) + p.value);
        break;
      case Preset::kDynamicShared:
        fill(w, p, launch.entry.dynamic_begin() + p.value);
        break;
      case Preset::kSpecial:
        fill_lanes(w, p, [](const Warp& warp, uint64_t number, int lane) -> uint64_t {
          return special_value(warp, static_cast<int>(number), lane);
        });
        break;
      case Preset::kLocal:
        fill_lanes(w, p, [](const Warp& warp, uint64_t offset, int lane) -> uint64_t {
          const uint64_t each = warp.local.size() / kLanes;
          return reinterpret_cast<uint64_t>(warp.local.data()) + each * static_cast<uint64_t>(lane) + offset;
        });
    }
  }
}

// What a launch gives each thread: all of a processor's registers shared out (the CUDA guide, "Multiprocessor Level").
uint32_t register_budget(const Launch& launch) {
  const uint32_t limit = launch.entry.max_threads;
  const auto threads = limit ? limit : static_cast<uint32_t>(launch.block.count());
  return std::min(kMostRegisters, kRegistersOfBlock / threads / 8 * 8);
}

Pool register_files, shared_memories;

void start_warp(Warp& w, Block& block, uint32_t id) {
  const Launch& launch = *block.launch;
  w.block = &block, w.id = id;
  const auto threads = static_cast<uint32_t>(launch.block.count()) - id * kLanes;
  w.exists = w.live = threads >= kLanes ? kAllLanes : (1u << threads) - 1;
  w.groups = {{0, w.live}};
  w.register_budget = register_budget(launch);
  const Entry& entry = launch.entry;
  w.registers = register_files.take(entry.register_bytes);
  std::memset(w.registers, kPoison, entry.register_bytes);
  const uint32_t local = (entry.local_bytes + 15) / 16 * 16;
  w.local.assign(size_t{local} * kLanes, kPoison);
  fill_presets(w);
}

Dim block_index(const Launch& launch, uint64_t cluster, uint32_t rank) {
  const Dim &c = launch.cluster, n = {launch.grid.x / c.x, launch.grid.y / c.y, launch.grid.z / c.z};
  const auto x = static_cast<uint32_t>(cluster % n.x), y = static_cast<uint32_t>(cluster / n.x % n.y);
  const auto z = static_cast<uint32_t>(cluster / n.x / n.y);
  return {x * c.x + rank % c.x, y * c.y + rank / c.x % c.y, z * c.z + rank / c.x / c.y};
}

void start_block(Launch& launch, Cluster& cluster, Block& block) {
  const Entry& entry = launch.entry;
  block.launch = &launch, block.cluster = &cluster;
  block.shared_bytes = launch.dynamic_shared ? entry.dynamic_begin() + launch.dynamic_shared : entry.static_shared();
  block.shared = shared_memories.take(block.shared_bytes + kSharedAlign);
  std::memset(block.shared, kPoison, block.shared_bytes);
  for (uint32_t id = 0; id < launch.warps(); ++id) {
    block.warps.push_back(std::make_unique<Warp>());
    start_warp(*block.warps.back(), block, id);
  }
}

}  // namespace

std::unique_ptr<Cluster> start_cluster(Launch& launch, uint64_t index) {
  auto cluster = std::make_unique<Cluster>();
  const auto blocks = static_cast<uint32_t>(launch.cluster.count());
  for (uint32_t rank = 0; rank < blocks; ++rank) {
    cluster->blocks.push_back(std::make_unique<Block>());
    Block& block = *cluster->blocks.back();
    block.rank = rank;
    block.index = block_index(launch, index, rank);
    start_block(launch, *cluster, block);
  }
  stats.blocks += blocks;
  return cluster;
}

void end_cluster(Cluster& cluster) {
  for (const auto& block : cluster.blocks) {
    const Warp& any = *block->warps[0];
    for (size_t b = 0; b < block->barriers.size(); ++b)
      if (block->barriers[b].arrived) fail(any, "the block ends with warps missing at barrier " + std::to_string(b));
    if (!block->bulk_copies.empty()) fail(any, "the block ends before copies that it has started have arrived");
    for (const auto& w : block->warps) {
      if (!w->products.in_flight.empty()) fail(*w, "ends with a wgmma that it has not waited for");
      for (const Deferred& stores : w->stores)
        if (!stores.empty()) fail(*w, "ends with bulk stores that may still read its shared memory");
      register_files.give(w->registers, block->launch->entry.register_bytes);
    }
    shared_memories.give(block->shared, block->shared_bytes + kSharedAlign);
  }
}

}  // namespace hgfast::ptx
