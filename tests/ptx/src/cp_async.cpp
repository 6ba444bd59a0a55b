// cp.async (PTX ISA, "Data Movement: Non-Bulk copy"): copies of 4, 8 or 16 bytes to shared memory, in groups that a
// thread waits for. Late ones are done at the wait, early ones when they are issued.
#include "addresses.h"
#include "decoder.h"
#include "families.h"
#include "mbarrier.h"

namespace hgfast::ptx {

namespace {

// n: bytes of the copy; b: bytes that are read, where given; the rest is zeros. d: destination; a: source.
Step copy(Warp& w, const Instruction& i) {
  ++stats.cp_async;
  for_lanes(w, [&](int l) {
    const uint64_t to = w.address(i.d, i.narrow2, i.offset2, l), from = w.address(i.a, i.narrow, i.offset, l);
    const uint32_t bytes = i.b ? w.at<uint32_t>(i.b)[l] : i.n, all = i.n;
    if (bytes > all) fail(w, l, "cp.async reads " + std::to_string(bytes) + " bytes of " + std::to_string(all));
    if (to % all || from % all) fail(w, l, "cp.async: an address is not aligned to " + std::to_string(all) + " bytes");
    uint8_t* const target = shared_at(w, l, to, all);
    const uint8_t* const source = bytes ? global_at(w, l, from, bytes, false) : nullptr;
    auto run = [=] {
      if (bytes) std::memcpy(target, source, bytes);
      std::memset(target + bytes, 0, all - bytes);
    };
    if (options.lazy)
      w.copies[static_cast<size_t>(l)].add(run);
    else
      run();
  });
  return Step::kNext;
}

Step commit(Warp& w, const Instruction&) {
  for_lanes(w, [&](int l) { w.copies[static_cast<size_t>(l)].commit(); });
  return Step::kNext;
}

Step wait_group(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) { w.copies[static_cast<size_t>(l)].wait(static_cast<size_t>(i.offset)); });
  return Step::kNext;
}

Step wait_all(Warp& w, const Instruction&) {
  for_lanes(w, [&](int l) { w.copies[static_cast<size_t>(l)].finish(); });
  return Step::kNext;
}

// cp.async.mbarrier.arrive: an arrival when the thread's copies are done. They are done here.
Step arrive_after_copies(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    w.copies[static_cast<size_t>(l)].finish();
    Mbarrier& barrier = mbarrier_at(w, l, w.address(i.a, i.narrow, i.offset, l));
    if (i.flags) mbarrier_arrive(w, l, barrier, 1);  // .noinc: counted in what the barrier expects
  });
  return Step::kNext;
}

}  // namespace

Handler decode_cp(Decoder& d) {
  Instruction& i = *d.now;
  if (d.has("bulk")) return decode_bulk(d);
  if (d.has("reduce")) return nullptr;
  if (d.has("commit_group")) return commit;
  if (d.has("wait_all")) return wait_all;
  if (d.has("wait_group")) {
    i.offset = d.immediate(0);
    return wait_group;
  }
  if (d.has("mbarrier")) {
    d.set_address(0);
    i.flags = d.has("noinc");
    return arrive_after_copies;
  }
  const Address to = d.address(d.operand(0));
  i.d = to.base, i.narrow2 = to.narrow, i.offset2 = to.displacement;
  d.set_address(1);
  i.n = static_cast<uint32_t>(d.immediate(2));
  if (d.operands.size() > 3) i.b = d.source(3, 4);
  if (d.has("cg") && i.n != 16) d.refuse("cp.async.cg copies 16 bytes");
  return i.n == 4 || i.n == 8 || i.n == 16 ? copy : nullptr;
}

}  // namespace hgfast::ptx
