// Bulk copies of the tensor memory accelerator, element by element.
#include <cstring>
#include <functional>

#include "emulator/ptx_tma.h"
#include "engine.h"
#include "global_memory.h"
#include "global_shadow.h"
#include "mbarrier.h"
#include "shared_shadow.h"

namespace hgfast::emu {

namespace {

// Calls visit(index of the row in the box, its coordinates); a row is one run of box[0] elements.
using RowVisitor = std::function<void(uint32_t, const std::array<int64_t, 5>&)>;

uint32_t box_extent(const TensorMap& map, int dimension) {
  return (map.box[dimension] + map.steps[dimension] - 1) / map.steps[dimension];
}

uint32_t row_count(const TensorMap& map) {
  if (map.im2col) return map.box[1];
  uint32_t rows = 1;
  for (int i = 1; i < map.rank; ++i) rows *= box_extent(map, i);
  return rows;
}

void visit_tile(const TensorMap& map, const TmaCoordinates& where, const RowVisitor& visit) {
  for (uint32_t row = 0; row < row_count(map); ++row) {
    std::array<int64_t, 5> at{};
    at[0] = where.at[0];
    uint32_t rest = row;
    for (int i = 1; i < map.rank; ++i) {
      const uint32_t extent = box_extent(map, i);
      at[i] = int64_t{where.at[i]} + int64_t{rest % extent} * map.steps[i];
      rest /= extent;
    }
    visit(row, at);
  }
}

// Filter positions run over W, then H, then N, within the corners; the tap is added to each.
void visit_im2col(const TensorMap& map, const TmaCoordinates& where, const RowVisitor& visit) {
  int64_t w = where.at[1], h = where.at[2], n = where.at[3];
  const int64_t last_w = static_cast<int64_t>(map.sizes[1]) - 1 + map.upper[0];
  const int64_t last_h = static_cast<int64_t>(map.sizes[2]) - 1 + map.upper[1];
  for (uint32_t row = 0; row < map.box[1]; ++row) {
    visit(row, {where.at[0], w + where.tap[0], h + where.tap[1], n, 0});
    w += map.steps[1];
    if (w <= last_w) continue;
    w = map.lower[0];
    h += map.steps[2];
    if (h <= last_h) continue;
    h = map.lower[1];
    ++n;
  }
}

void visit_rows(const TensorMap& map, const TmaCoordinates& where, const RowVisitor& visit) {
  map.im2col ? visit_im2col(map, where, visit) : visit_tile(map, where, visit);
}

// Address of element e of a box row in shared memory: 16-byte chunks are permuted by address bits 7 and up.
uint32_t swizzled(const TensorMap& map, uint32_t box, uint32_t row, uint32_t e) {
  const uint32_t address = box + (row * map.box[0] + e) * map.element_bytes;
  if (!map.swizzle_bytes) return address;
  const uint32_t bits = map.swizzle_bytes / 16 - 1;
  return address ^ (((address >> 7) & bits) << 4);
}

// The element's global address; null where it is out of range.
unsigned char* element(const TensorMap& map, const std::array<int64_t, 5>& row, uint32_t e) {
  uint64_t offset = 0;
  for (int i = 0; i < map.rank; ++i) {
    const int64_t c = row[i] + (i ? 0 : e);
    if (c < 0 || c >= static_cast<int64_t>(map.sizes[i])) return nullptr;
    offset += c * map.strides[i];
  }
  return const_cast<unsigned char*>(map.base) + offset;
}

uint32_t box_bytes(const TensorMap& map) { return row_count(map) * map.box[0] * map.element_bytes; }

void check_operands(const TensorMap& map, uint32_t shared, const TmaCoordinates& where, Site site) {
  const std::string at = emu::where(site);
  if (where.rank != map.rank) fail("TMA at %s: %d coordinates for a map of rank %d", at.c_str(), where.rank, map.rank);
  const uint32_t align = map.swizzle_bytes ? map.swizzle_bytes * 8 : 128;
  if (shared % align) fail("TMA at %s: shared address 0x%x is not %u-byte aligned", at.c_str(), shared, align);
  if (!engine.block->shared.valid(shared, box_bytes(map)))
    fail("TMA at %s: a box of %u bytes does not fit in %s", at.c_str(), box_bytes(map),
         engine.block->shared.describe(shared).c_str());
  if (reinterpret_cast<uintptr_t>(&map) % alignof(TensorMap)) fail("TMA at %s: misaligned tensor map", at.c_str());
}

void load_box(unsigned char* arena, uint32_t destination, const TensorMap& map, const TmaCoordinates& where) {
  visit_rows(map, where, [&](uint32_t row, const std::array<int64_t, 5>& at) {
    for (uint32_t e = 0; e < map.box[0]; ++e) {
      unsigned char* target = arena + swizzled(map, destination, row, e);
      if (const unsigned char* source = element(map, at, e))
        std::memcpy(target, source, map.element_bytes);
      else
        std::memset(target, 0, map.element_bytes);
    }
  });
}

void store_box(const unsigned char* arena, uint32_t source, const TensorMap& map, const TmaCoordinates& where,
               const void* pc) {
  visit_rows(map, where, [&](uint32_t row, const std::array<int64_t, 5>& at) {
    for (uint32_t e = 0; e < map.box[0]; ++e) {
      unsigned char* target = element(map, at, e);
      if (!target) continue;
      check_global(target, map.element_bytes, true, "TMA store");
      if (engine.checking) note_global(target, map.element_bytes, GlobalKind::kWrite, pc);
      std::memcpy(target, arena + swizzled(map, source, row, e), map.element_bytes);
    }
  });
}

// The agent that does the work knows what the issuing thread knows now.
void hand_over(Block& block, int agent) {
  block.clocks.join(block.clocks.row(agent), block.clocks.row(engine.lane->index));
  block.clocks.tick(agent);
}

}  // namespace

void tma_load(uint32_t destination, const TensorMap& map, uint32_t barrier_address, const TmaCoordinates& where,
              Site site) {
  Block& block = *engine.block;
  ++engine.stats.tma_loads;
  check_operands(map, destination, where, site);
  Mbarrier& barrier = mbarrier_at(barrier_address);
  const uint32_t bytes = box_bytes(map);
  if (engine.checking) {
    const int agent = block.clocks.mbarrier_actor(barrier.index);
    hand_over(block, agent);
    block.shadow->note(block, {destination, bytes, true, agent, __builtin_return_address(0), true});
  }
  auto copy = [=, &block, &barrier] {
    load_box(block.shared.at(0), destination, map, where);
    mbarrier_deliver(barrier, static_cast<int>(bytes));
  };
  if (!defer_async()) return copy();
  std::memset(block.shared.at(destination), 0xff, bytes);
  block.bulk_copies.push_back(copy);
}

void tma_store(const TensorMap& map, uint32_t source, const TmaCoordinates& where, Site site) {
  Block& block = *engine.block;
  ++engine.stats.tma_stores;
  if (map.im2col) fail("TMA store at %s through an im2col map", emu::where(site).c_str());
  check_operands(map, source, where, site);
  const void* pc = __builtin_return_address(0);
  const int agent = block.clocks.store_engine(engine.lane->warp);
  if (engine.checking) {
    hand_over(block, agent);
    block.shadow->note(block, {source, box_bytes(map), false, agent, pc, true});
  }
  const Clock issued = engine.checking ? block.clocks.now(agent) : 0;
  const bool deferred = defer_async();
  if (!deferred) store_box(block.shared.at(0), source, map, where, pc);
  engine.lane->stores.add([=, &block] {
    if (deferred) store_box(block.shared.at(0), source, map, where, pc);
    if (engine.checking) block.clocks.learn(engine.lane->index, agent, issued);
  });
}

void tma_store_commit() { engine.lane->stores.commit(); }

void tma_store_wait(int pending_groups) { engine.lane->stores.wait(pending_groups); }

}  // namespace hgfast::emu
