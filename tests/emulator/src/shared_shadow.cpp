#include "shared_shadow.h"

#include <algorithm>

#include "engine.h"

namespace hgfast::emu {

namespace {

const char* verb(const SharedAccess& access) { return access.write ? "write" : "read"; }

std::string describe_actor(const Block& block, int actor) {
  if (actor < block.threads) return describe_thread(block, actor);
  const int agent = actor - block.threads;
  if (agent < Clocks::kMaxMbarriers) return "the bulk copies of mbarrier " + std::to_string(agent);
  return (agent < Clocks::kMaxMbarriers + kMaxWarps ? "the tensor core of warp " : "the bulk stores of warp ") +
         std::to_string((agent - Clocks::kMaxMbarriers) % kMaxWarps);
}

[[noreturn]] void fail_race(Block& block, const char* kind, const SharedAccess& access, uint32_t offset, int other,
                            const void* other_pc) {
  fail("%s race on %s: %s at %s, after an access by %s at %s, with no barrier between them", kind,
       block.shared.describe(offset).c_str(), describe_actor(block, access.actor).c_str(),
       source_line(access.pc).c_str(), describe_actor(block, other).c_str(), source_line(other_pc).c_str());
}

}  // namespace

SharedShadow::Granule& SharedShadow::line(size_t index) {
  if (lines_.empty()) {
    lines_.resize(SharedMemory::kArena / kLine);
    granules_.resize(SharedMemory::kArena / kGranule);
  }
  Granule& line = lines_[index];
  if (line.epoch != epoch_) {
    line.epoch = epoch_;
    line.writer = -1;
    line.in_flight = line.via_async_proxy = line.atomic = line.split = false;
    line.readers.clear();
  }
  return line;
}

void SharedShadow::split(size_t index) {
  for (size_t i = 0; i < kParts; ++i) granules_[index * kParts + i] = lines_[index];
  lines_[index].split = true;
}

template <class F>
void SharedShadow::for_each(uint32_t offset, size_t bytes, F f) {
  const size_t end = offset + bytes;
  for (size_t i = offset / kLine; i * kLine < end; ++i) {
    const bool whole = offset <= i * kLine && (i + 1) * kLine <= end;
    Granule& whole_line = line(i);
    if (!whole_line.split && whole) {
      f(whole_line, static_cast<uint32_t>(i * kLine));
      continue;
    }
    if (!whole_line.split) split(i);
    const size_t first = std::max<size_t>(offset, i * kLine) / kGranule;
    const size_t last = (std::min<size_t>(end, (i + 1) * kLine) - 1) / kGranule;
    for (size_t g = first; g <= last; ++g) f(granules_[g], static_cast<uint32_t>(g * kGranule));
  }
}

void SharedShadow::check_flight(Block& block, const Granule& g, const SharedAccess& access, uint32_t offset) const {
  if (g.in_flight)
    fail("%s of %s at %s while an asynchronous copy to it is in flight (issued at %s)", verb(access),
         block.shared.describe(offset).c_str(), source_line(access.pc).c_str(), source_line(g.write_pc).c_str());
}

void SharedShadow::check_writer(Block& block, const Granule& g, const SharedAccess& access, uint32_t offset) const {
  if (g.writer < 0) {
    if (!access.write || access.atomic)
      fail("read of uninitialised %s at %s", block.shared.describe(offset).c_str(), source_line(access.pc).c_str());
    return;
  }
  const bool both_atomic = access.atomic && g.atomic;
  if (!both_atomic && !block.clocks.seen(access.actor, g.writer, g.write_clock))
    fail_race(block, access.write ? "write-write" : "write-read", access, offset, g.writer, g.write_pc);
  if (access.async_proxy && !g.via_async_proxy && block.lanes[g.writer].proxy_fence < g.write_clock)
    fail("the async proxy accesses %s at %s, which %s wrote at %s without a fence.proxy.async since",
         block.shared.describe(offset).c_str(), source_line(access.pc).c_str(),
         describe_thread(block, g.writer).c_str(), source_line(g.write_pc).c_str());
}

void SharedShadow::check_readers(Block& block, const Granule& g, const SharedAccess& access, uint32_t offset) const {
  for (const Reader& reader : g.readers) {
    if (!block.clocks.seen(access.actor, reader.actor, reader.clock))
      fail_race(block, "read-write", access, offset, reader.actor, reader.pc);
  }
}

// Readers that the new one has seen need not be kept: a later write ordered after it is ordered after them.
void SharedShadow::add_reader(Block& block, Granule& g, const SharedAccess& access) const {
  auto& readers = g.readers;
  readers.erase(std::remove_if(readers.begin(), readers.end(),
                               [&](const Reader& r) { return block.clocks.seen(access.actor, r.actor, r.clock); }),
                readers.end());
  readers.push_back({access.pc, block.clocks.now(access.actor), access.actor});
}

void SharedShadow::note_granule(Block& block, Granule& g, const SharedAccess& access, uint32_t offset) const {
  check_flight(block, g, access, offset);
  check_writer(block, g, access, offset);
  if (!access.write) return add_reader(block, g, access);
  check_readers(block, g, access, offset);
  g.readers.clear();
  g.writer = access.actor;
  g.write_clock = block.clocks.now(access.actor);
  g.write_pc = access.pc;
  g.via_async_proxy = access.async_proxy;
  g.atomic = access.atomic;
}

void SharedShadow::note(Block& block, const SharedAccess& access) {
  if (!block.shared.valid(access.offset, access.bytes))
    fail("%s of %zu bytes at %s is outside every shared array: %s", verb(access), access.bytes,
         source_line(access.pc).c_str(), block.shared.describe(access.offset).c_str());
  for_each(access.offset, access.bytes, [&](Granule& g, uint32_t offset) { note_granule(block, g, access, offset); });
}

void SharedShadow::launch(Block& block, const SharedAccess& access) {
  note(block, access);
  for_each(access.offset, access.bytes, [](Granule& g, uint32_t) { g.in_flight = true; });
}

void SharedShadow::land(uint32_t offset, size_t bytes) {
  for_each(offset, bytes, [](Granule& g, uint32_t) { g.in_flight = false; });
}

}  // namespace hgfast::emu
