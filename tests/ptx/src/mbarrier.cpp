#include "mbarrier.h"

#include <algorithm>

#include "addresses.h"
#include "decoder.h"
#include "families.h"

namespace hgfast::ptx {

namespace {

constexpr uint32_t kMark = 0x55, kMostArrivals = 0xfff;
constexpr int32_t kMostBytes = (1 << 20) - 1;

Mbarrier& place_of(const Warp& w, int lane, uint64_t address) {
  if (address % 8) fail(w, lane, "mbarrier: address " + hex(address) + " is not aligned to 8 bytes");
  return *reinterpret_cast<Mbarrier*>(shared_at(w, lane, address, sizeof(Mbarrier)));
}

// A phase ends when nothing is missing.
void settle(Mbarrier& b) {
  if (b.pending || b.bytes) return;
  b.phase ^= 1;
  b.pending = b.expected;
}

void expect(const Warp& w, int lane, Mbarrier& b, uint32_t bytes) {
  b.bytes += static_cast<int32_t>(bytes);
  if (b.bytes > kMostBytes) fail(w, lane, "mbarrier: more bytes are expected than it can count");
}

Step initialise(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    const uint32_t count = w.at<uint32_t>(i.b)[l];
    if (count < 1 || count > kMostArrivals) fail(w, l, "mbarrier.init for " + std::to_string(count) + " arrivals");
    place_of(w, l, w.address(i.a, i.narrow, i.offset, l)) = {count, count, kMark, 0, 0};
  });
  return Step::kNext;
}

Step invalidate(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) { mbarrier_at(w, l, w.address(i.a, i.narrow, i.offset, l)).mark = 0; });
  return Step::kNext;
}

uint64_t token(const Mbarrier& b) { return uint64_t{b.phase} << 63; }

Step arrive(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    Mbarrier& b = mbarrier_at(w, l, w.address(i.a, i.narrow, i.offset, l));
    w.at<uint64_t>(i.d)[l] = token(b);
    mbarrier_arrive(w, l, b, w.at<uint32_t>(i.b)[l]);
  });
  return Step::kNext;
}

Step arrive_expecting(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    Mbarrier& b = mbarrier_at(w, l, w.address(i.a, i.narrow, i.offset, l));
    w.at<uint64_t>(i.d)[l] = token(b);
    expect(w, l, b, w.at<uint32_t>(i.b)[l]);
    mbarrier_arrive(w, l, b, 1);
  });
  return Step::kNext;
}

Step expect_only(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    expect(w, l, mbarrier_at(w, l, w.address(i.a, i.narrow, i.offset, l)), w.at<uint32_t>(i.b)[l]);
  });
  return Step::kNext;
}

// Late copies are done when somebody asks for the mbarrier that they report to.
void finish_copies(const Cluster& cluster, const Mbarrier& barrier) {
  for (const auto& block : cluster.blocks) {
    auto& copies = block->bulk_copies;
    for (size_t k = 0; k < copies.size();) {
      if (copies[k].mbarrier != reinterpret_cast<const uint8_t*>(&barrier)) {
        ++k;
        continue;
      }
      const auto run = std::move(copies[k].run);
      copies.erase(copies.begin() + static_cast<long>(k));
      run();
    }
  }
}

template <bool kParity>
Step test(Warp& w, const Instruction& i) {
  uint32_t done = 0;
  for_lanes(w, [&](int l) {
    Mbarrier& b = mbarrier_at(w, l, w.address(i.a, i.narrow, i.offset, l));
    const uint64_t phase = kParity ? w.at<uint32_t>(i.b)[l] & 1 : w.at<uint64_t>(i.b)[l] >> 63;
    if (b.phase == phase) finish_copies(*w.block->cluster, b);
    done |= uint32_t{b.phase != phase} << l;
  });
  w.set_predicate(i.d, done);
  if (done == w.active) return Step::kNext;
  w.waits_for = "polls an mbarrier";
  return Step::kYield;
}

Handler decode_test(Decoder& d) {
  Instruction& i = *d.now;
  const bool parity = d.has("parity");
  i.d = d.destination(0, 0);
  d.set_address(1);
  i.b = d.source(2, parity ? 4 : 8);
  return parity ? test<true> : test<false>;
}

Handler decode_arrive(Decoder& d) {
  Instruction& i = *d.now;
  const size_t address = d.operand(0)[0] == '[' ? 0 : 1;  // remote arrivals return no token
  const bool expects = d.has("expect_tx"), counted = d.operands.size() > address + 1;
  i.d = address ? d.destination(0, 8) : d.destination("_", 8);
  d.set_address(address);
  i.b = counted ? d.source(address + 1, 4) : d.source("1", 4);
  if (d.has("noComplete") || (expects && !counted)) return nullptr;
  return expects ? arrive_expecting : arrive;
}

}  // namespace

Mbarrier& mbarrier_at(const Warp& w, int lane, uint64_t address) {
  Mbarrier& b = place_of(w, lane, address);
  if (b.mark != kMark) fail(w, lane, "there is no initialised mbarrier at shared address " + hex(address));
  return b;
}

void mbarrier_arrive(const Warp& w, int lane, Mbarrier& b, uint32_t count) {
  if (b.pending < count)
    fail(w, lane, "mbarrier: more arrivals than the " + std::to_string(b.expected) + " of a phase");
  b.pending -= count;
  settle(b);
}

void mbarrier_deliver(uint8_t* barrier, uint32_t bytes) {
  auto& b = *reinterpret_cast<Mbarrier*>(barrier);
  b.bytes -= static_cast<int32_t>(bytes);
  if (b.bytes < -kMostBytes) throw Error("PTX: copies deliver more bytes than an mbarrier can count");
  settle(b);
}

Handler decode_mbarrier(Decoder& d) {
  Instruction& i = *d.now;
  if (d.has("init")) {
    d.set_address(0);
    i.b = d.source(1, 4);
    return initialise;
  }
  if (d.has("inval")) {
    d.set_address(0);
    return invalidate;
  }
  if (d.has("try_wait") || d.has("test_wait")) return decode_test(d);
  if (d.has("arrive")) return decode_arrive(d);
  if (!d.has("expect_tx")) return nullptr;  // arrive_drop, complete_tx, pending_count
  d.set_address(0);
  i.b = d.source(1, 4);
  return expect_only;
}

}  // namespace hgfast::ptx
