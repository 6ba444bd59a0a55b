#include "global_shadow.h"

#include <algorithm>

#include "engine.h"
#include "global_memory.h"

namespace hgfast::emu {

namespace {

constexpr uint32_t kManyBlocks = ~0u;

// Has the running thread seen the event (clock of thread `actor` in block `block`)? Blocks learn of one another through
// flags: see ordering.cpp.
bool has_seen(uint32_t block, int actor, Clock clock) {
  Block& mine = *engine.block;
  const int me = engine.lane->index;
  if (block == mine.linear + 1) return mine.clocks.seen(me, actor, clock);
  return std::any_of(mine.acquired.begin(), mine.acquired.end(), [&](const Acquired& a) {
    return a.block == block && a.clocks[actor] >= clock && mine.clocks.seen(me, a.actor, a.when);
  });
}

[[noreturn]] void fail_race(const char* kind, const Region& region, size_t offset, const void* pc, uint32_t block,
                            int thread, const void* other_pc) {
  const std::string other = block == engine.block->linear + 1 ? describe_thread(*engine.block, thread)
                            : block == kManyBlocks            ? std::string("other blocks")
                                                              : "block " + std::to_string(block - 1);
  fail("%s race on byte %zu of '%s': this access at %s, after one by %s at %s, with nothing that orders them", kind,
       offset, region.name.c_str(), source_line(pc).c_str(), other.c_str(), source_line(other_pc).c_str());
}

void check_order(const Region& region, const GlobalGranule& g, GlobalKind kind, size_t offset, const void* pc) {
  const bool both_atomic = kind == GlobalKind::kAtomic && g.atomic;
  if (g.write_block && !both_atomic && !has_seen(g.write_block, g.writer, g.write_clock))
    fail_race(kind == GlobalKind::kRead ? "write-read" : "write-write", region, offset, pc, g.write_block, g.writer,
              g.write_pc);
  if (kind == GlobalKind::kRead || !g.read_block) return;
  if (g.read_block == kManyBlocks || !has_seen(g.read_block, g.reader, g.read_clock))
    fail_race("read-write", region, offset, pc, g.read_block, g.reader, g.read_pc);
}

void record(GlobalGranule& g, GlobalKind kind, const void* pc) {
  const uint32_t block = engine.block->linear + 1;
  const auto me = static_cast<uint16_t>(engine.lane->index);
  const Clock clock = engine.block->clocks.now(me);
  if (kind == GlobalKind::kRead) {
    g.read_block = g.read_block && g.read_block != block ? kManyBlocks : block;
    g.reader = me, g.read_clock = clock, g.read_pc = pc;
  } else {
    g.write_block = block, g.writer = me, g.write_clock = clock, g.write_pc = pc;
    g.read_block = 0;
    g.atomic = kind == GlobalKind::kAtomic;
    g.initialised = true;
  }
}

// An earlier launch on the stream is over: only what it initialised matters.
void enter_launch(GlobalGranule& g) {
  const bool initialised = g.initialised;
  g = GlobalGranule{};
  g.launch = engine.launch.id;
  g.initialised = initialised;
}

}  // namespace

void note_global(const void* address, size_t bytes, GlobalKind kind, const void* pc) {
  const bool write = kind != GlobalKind::kRead;
  Region* region = find_region(address);
  const char* p = static_cast<const char*>(address);
  if (!region || p + bytes > region->end())
    fail("%s of %zu bytes at %s is out of bounds: %s", write ? "write" : "read", bytes, source_line(pc).c_str(),
         describe_global(region ? region->end() : address).c_str());
  if (write && region->access == Access::kRead)
    fail("write to '%s' at %s, which is an input", region->name.c_str(), source_line(pc).c_str());
  if (region->access == Access::kRead) return;
  const size_t first = p - region->begin, last = (first + bytes - 1) / region->granule;
  for (size_t i = first / region->granule; i <= last; ++i) {
    GlobalGranule& g = region->shadow[i];
    if (g.launch != engine.launch.id) enter_launch(g);
    check_order(*region, g, kind, i * region->granule, pc);
    if (kind != GlobalKind::kWrite && !g.initialised)
      fail("read of byte %zu of '%s' at %s, which nobody wrote", i * region->granule, region->name.c_str(),
           source_line(pc).c_str());
    record(g, kind, pc);
  }
}

void mark_initialised(const void* address, size_t bytes) {
  Region& region = check_global(address, bytes, true, "memset");
  if (region.shadow.empty()) return;
  const size_t first = static_cast<const char*>(address) - region.begin;
  for (size_t i = first / region.granule; i <= (first + bytes - 1) / region.granule; ++i)
    region.shadow[i].initialised = true;
}

}  // namespace hgfast::emu
