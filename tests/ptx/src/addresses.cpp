#include "addresses.h"

#include "decoder.h"
#include "families.h"
#include "regions.h"

namespace hgfast::ptx {

Block& block_of(const Warp& w, int lane, uint32_t address) {
  const uint32_t rank = address >> kRankShift;
  if (!rank) return *w.block;
  const auto& blocks = w.block->cluster->blocks;
  if (rank > blocks.size()) fail(w, lane, "shared address " + hex(address) + " is in no block of the cluster");
  return *blocks[rank - 1];
}

uint8_t* shared_at(const Warp& w, int lane, uint64_t address, uint32_t bytes) {
  const Block& block = block_of(w, lane, static_cast<uint32_t>(address));
  const uint64_t at = address & kOffsetMask;
  if (address >> 32 || at + bytes > block.shared_bytes)
    fail(w, lane,
         std::to_string(bytes) + " bytes at " + std::to_string(at) + " are out of the block's " +
             std::to_string(block.shared_bytes) + " bytes of shared memory");
  return block.shared + at;
}

uint8_t* global_at(const Warp& w, int lane, uint64_t address, uint32_t bytes, bool writes) {
  const Region* region = regions().find(address, bytes);
  if (!region)
    fail(w, lane,
         std::string(writes ? "write" : "read") + " of " + std::to_string(bytes) +
             " bytes is out of bounds: " + regions().describe(address));
  if (writes && !region->writable) fail(w, lane, "write to '" + region->name + "', which is only read");
  return reinterpret_cast<uint8_t*>(address);
}

uint8_t* local_at(const Warp& w, int lane, uint64_t address, uint32_t bytes) {
  const uint64_t each = w.local.size() / kLanes;
  const uint64_t begin = reinterpret_cast<uint64_t>(w.local.data()) + each * static_cast<uint64_t>(lane);
  if (address < begin || address + bytes > begin + each) fail(w, lane, "an access out of the thread's local memory");
  return reinterpret_cast<uint8_t*>(address);
}

uint8_t* parameter_at(const Warp& w, int lane, uint64_t address, uint32_t bytes) {
  const Launch& launch = *w.block->launch;
  const auto begin = reinterpret_cast<uint64_t>(launch.parameters);
  if (address < begin || address + bytes > begin + launch.entry.parameter_bytes)
    fail(w, lane, "an access out of the kernel's parameters");
  return reinterpret_cast<uint8_t*>(address);
}

uint8_t* generic_at(const Warp& w, int lane, uint64_t address, uint32_t bytes, bool writes) {
  if (regions().find(address, bytes)) return global_at(w, lane, address, bytes, writes);
  for (const auto& block : w.block->cluster->blocks)
    if (block->holds(address)) {
      if (!block->holds(address + bytes - 1)) fail(w, lane, "an access across the end of shared memory");
      return reinterpret_cast<uint8_t*>(address);
    }
  const auto parameters = reinterpret_cast<uint64_t>(w.block->launch->parameters);
  const auto local = reinterpret_cast<uint64_t>(w.local.data());
  if (address >= local && address < local + w.local.size()) return local_at(w, lane, address, bytes);
  if (!writes && address >= parameters && address < parameters + w.block->launch->entry.parameter_bytes)
    return parameter_at(w, lane, address, bytes);
  return global_at(w, lane, address, bytes, writes);  // says what is wrong
}

// ---- conversions of addresses (PTX ISA, "cvta", "isspacep", "mapa") ----

namespace {

Step same(Warp& w, const Instruction& i) {
  uint64_t* const d = w.at<uint64_t>(i.d);
  const uint64_t* const a = w.at<uint64_t>(i.a);
  for_lanes(w, [=](int l) { d[l] = a[l]; });
  return Step::kNext;
}

Step generic_to_shared(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    const uint64_t generic = w.at<uint64_t>(i.a)[l];
    const Block* found = nullptr;
    for (const auto& block : w.block->cluster->blocks) {
      const auto begin = reinterpret_cast<uint64_t>(block->shared);
      if (generic >= begin && generic <= begin + block->shared_bytes) found = block.get();  // one past the end too
    }
    if (!found) fail(w, l, "cvta.to.shared of an address outside shared memory");
    const uint64_t rank = found == w.block ? 0 : found->rank + 1;
    w.at<uint64_t>(i.d)[l] = generic - reinterpret_cast<uint64_t>(found->shared) + (rank << kRankShift);
  });
  return Step::kNext;
}

Step shared_to_generic(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    const uint64_t address = w.at<uint64_t>(i.a)[l];
    const Block& block = block_of(w, l, static_cast<uint32_t>(address));
    w.at<uint64_t>(i.d)[l] = reinterpret_cast<uint64_t>(block.shared) + (address & kOffsetMask);
  });
  return Step::kNext;
}

Step is_shared(Warp& w, const Instruction& i) {
  uint32_t bits = 0;
  for_lanes(w, [&](int l) { bits |= uint32_t{w.block->holds(w.at<uint64_t>(i.a)[l])} << l; });
  w.set_predicate(i.d, bits);
  return Step::kNext;
}

Step mapa(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    const uint32_t rank = w.at<uint32_t>(i.b)[l];
    if (rank >= w.block->cluster->blocks.size())
      fail(w, l, "mapa: no block " + std::to_string(rank) + " in the cluster");
    w.at<uint32_t>(i.d)[l] = (w.at<uint32_t>(i.a)[l] & kOffsetMask) | (rank + 1) << kRankShift;
  });
  return Step::kNext;
}

bool names_shared(const Decoder& d) { return d.has("shared") || d.has("shared::cta") || d.has("shared::cluster"); }

}  // namespace

Handler decode_cvta(Decoder& d) {
  if (d.bytes() != 8) return nullptr;
  d.now->d = d.destination(0, 8), d.now->a = d.source(1, 8);
  if (!names_shared(d)) return same;
  return d.has("to") ? generic_to_shared : shared_to_generic;
}

Handler decode_isspacep(Decoder& d) {
  d.now->d = d.destination(0, 0), d.now->a = d.source(1, 8);
  return d.has("shared") || d.has("shared::cta") ? is_shared : nullptr;
}

Handler decode_mapa(Decoder& d) {
  if (!d.has("shared::cluster") || d.bytes() != 4) return nullptr;
  d.now->d = d.destination(0, 4), d.now->a = d.source(1, 4), d.now->b = d.source(2, 4);
  return mapa;
}

}  // namespace hgfast::ptx
