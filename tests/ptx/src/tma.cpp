// Bulk copies (PTX ISA, "Data Movement: Bulk copy", "cp.async.bulk.tensor"): loads report to an mbarrier, stores are
// waited for in groups. Late loads are done when somebody asks for their mbarrier, late stores at their wait.
#include "tma.h"

#include "addresses.h"
#include "decoder.h"
#include "families.h"
#include "mbarrier.h"

namespace hgfast::ptx {

namespace {

enum Flag : uint8_t { kIm2col = 1, kMulticast = 2 };

// a: the map; list: coordinates (n), then im2col offsets.
BoxCopy box_copy(const Warp& w, const Instruction& i, int lane, Block* block, uint32_t shared) {
  BoxCopy copy{read_tensor_map(w, lane, w.address(i.a, i.narrow, i.offset, lane)),
               (i.flags & kIm2col) != 0,
               {},
               {},
               block,
               shared};
  for (size_t k = 0; k < i.list.size(); ++k) {
    if (k < i.n)
      copy.corner.push_back(w.at<int32_t>(i.list[k])[lane]);
    else
      copy.taps.push_back(w.at<uint16_t>(i.list[k])[lane]);
  }
  return copy;
}

std::vector<Block*> targets(const Warp& w, const Instruction& i, int lane, uint32_t shared) {
  if (!(i.flags & kMulticast)) return {&block_of(w, lane, shared)};
  std::vector<Block*> blocks;
  const auto& all = w.block->cluster->blocks;
  const uint32_t mask = w.at<uint16_t>(i.c)[lane];
  if (mask >> all.size()) fail(w, lane, "TMA: multicast to a block that is not in the cluster");
  for (size_t k = 0; k < all.size(); ++k)
    if (mask >> k & 1) blocks.push_back(all[k].get());
  return blocks;
}

// The mbarrier of the same offset in another block, which must be initialised.
uint8_t* mbarrier_in(const Warp& w, int lane, const Block& block, uint64_t address) {
  const uint64_t there = (address & kOffsetMask) | uint64_t{block.rank + 1} << kRankShift;
  return reinterpret_cast<uint8_t*>(&mbarrier_at(w, lane, there));
}

void start(Block& block, uint8_t* barrier, const std::function<void()>& run) {
  if (options.lazy)
    block.bulk_copies.push_back({barrier, run});
  else
    run();
}

// d: destination; b and offset2: the mbarrier.
Step load_tensor(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    ++stats.tma_loads;
    const uint32_t to = w.at<uint32_t>(i.d)[l];
    const uint64_t barrier_address = w.address(i.b, true, i.offset2, l);
    for (Block* block : targets(w, i, l, to)) {
      const BoxCopy copy = box_copy(w, i, l, block, to & kOffsetMask);
      check_box(w, l, copy, false);
      uint8_t* const barrier = mbarrier_in(w, l, *block, barrier_address);
      start(*block, barrier, [copy, barrier] {
        load_box(copy);
        mbarrier_deliver(barrier, copy.bytes());
      });
    }
  });
  return Step::kNext;
}

// b: source.
Step store_tensor(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    ++stats.tma_stores;
    const BoxCopy copy = box_copy(w, i, l, w.block, w.at<uint32_t>(i.b)[l]);
    check_box(w, l, copy, true);
    if (options.lazy)
      w.stores[static_cast<size_t>(l)].add([copy] { store_box(copy); });
    else
      store_box(copy);
  });
  return Step::kNext;
}

// A stretch of bytes. d: destination; a: source; c: bytes; b: the mbarrier.
Step load_bytes(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    ++stats.tma_loads;
    const uint32_t to = w.at<uint32_t>(i.d)[l], bytes = w.at<uint32_t>(i.c)[l];
    const uint64_t from = w.address(i.a, i.narrow, i.offset, l);
    if (to % 16 || from % 16 || bytes % 16) fail(w, l, "a bulk copy that is not in units of 16 bytes");
    uint8_t* const target = shared_at(w, l, to, bytes);
    const uint8_t* const source = global_at(w, l, from, bytes, false);
    auto* const barrier = reinterpret_cast<uint8_t*>(&mbarrier_at(w, l, w.address(i.b, true, i.offset2, l)));
    start(block_of(w, l, to), barrier, [=] {
      std::memcpy(target, source, bytes);
      mbarrier_deliver(barrier, bytes);
    });
  });
  return Step::kNext;
}

Step commit(Warp& w, const Instruction&) {
  for_lanes(w, [&](int l) { w.stores[static_cast<size_t>(l)].commit(); });
  return Step::kNext;
}
Step wait_group(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) { w.stores[static_cast<size_t>(l)].wait(static_cast<size_t>(i.offset)); });
  return Step::kNext;
}
Step nothing(Warp&, const Instruction&) { return Step::kNext; }

Step prefetch_map(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) { read_tensor_map(w, l, w.address(i.a, i.narrow, i.offset, l)); });
  return Step::kNext;
}

// A plain shared address, whose displacement must be in its register.
Register shared_operand(Decoder& d, size_t index) {
  const Address at = d.address(d.operand(index));
  if (!at.narrow || at.displacement) d.refuse("a shared address of this form is not modelled");
  return at.base;
}

// "[map, {c0, c1}]".
void tensor_operand(Decoder& d, size_t index) {
  Instruction& i = *d.now;
  const Text& text = d.operand(index);
  const auto parts = split(text.substr(1, text.size() - 2));
  const Address map = d.address(parts.at(0));
  i.a = map.base, i.narrow = map.narrow, i.offset = map.displacement;
  for (const Text& c : vector_elements(parts.at(1))) i.list.push_back(d.source(c, 4));
  i.n = static_cast<uint32_t>(i.list.size());
  if (!d.has((std::to_string(i.n) + "d").c_str())) d.refuse("the number of coordinates");
}

void barrier_operand(Decoder& d, size_t index) {
  const Address barrier = d.address(d.operand(index));
  if (!barrier.narrow) d.refuse("an mbarrier's address has 4 bytes");
  d.now->b = barrier.base, d.now->offset2 = barrier.displacement;
}

Handler decode_tensor(Decoder& d) {
  Instruction& i = *d.now;
  const size_t to_shared = d.opcode.text.find(".shared::c"), to_global = d.opcode.text.find(".global");
  if (to_global < to_shared) {
    tensor_operand(d, 0);
    i.b = shared_operand(d, 1);
    i.flags = d.has("im2col_no_offs") ? kIm2col : 0;
    return store_tensor;
  }
  i.d = shared_operand(d, 0);
  tensor_operand(d, 1);
  barrier_operand(d, 2);
  size_t next = 3;
  if (d.has("im2col")) {
    i.flags = kIm2col;
    for (const Text& tap : vector_elements(d.operand(next++))) i.list.push_back(d.source(tap, 2));
    if (i.list.size() != 2 * i.n - 2) d.refuse("the number of im2col offsets");
  }
  if (d.has("multicast::cluster")) {
    i.flags |= kMulticast;
    i.c = d.source(next, 2);
  }
  return load_tensor;
}

}  // namespace

Handler decode_bulk(Decoder& d) {
  Instruction& i = *d.now;
  if (d.has("commit_group")) return commit;
  if (d.has("wait_group")) {  // .read too: what a store has read is what it will write
    i.offset = d.immediate(0);
    return wait_group;
  }
  if (d.has("reduce")) return nullptr;
  if (d.has("prefetch")) return nothing;
  if (d.has("tensor")) return decode_tensor(d);
  if (!d.has("mbarrier::complete_tx::bytes") || !d.has("global")) return nullptr;
  i.d = shared_operand(d, 0);
  d.set_address(1);
  i.c = d.source(2, 4);
  barrier_operand(d, 3);
  return load_bytes;
}

Handler decode_prefetch(Decoder& d) {
  if (!d.has("tensormap")) return nothing;
  d.set_address(0);
  return prefetch_map;
}

}  // namespace hgfast::ptx
