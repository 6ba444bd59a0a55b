// bar, barrier and barrier.cluster (PTX ISA, "bar, barrier", "barrier.cluster"). Warps arrive as a whole.
#include "decoder.h"
#include "families.h"
#include "machine.h"

namespace hgfast::ptx {

namespace {

enum class Reduction : uint8_t { kNone, kCount, kAnd, kOr };

uint32_t threads_alive(const Block& block) {
  uint32_t threads = 0;
  for (const auto& warp : block.warps) threads += warp->ended() ? 0 : kLanes;
  return threads;
}

Barrier& barrier_of(Warp& w, const Instruction& i) {
  const uint32_t id = uniform(w, i.a);
  if (id >= kBarriers) fail(w, "bar: no barrier " + std::to_string(id));
  return w.block->barriers[id];
}

void arrive(Warp& w, const Instruction& i) {
  ++stats.barriers;
  Barrier& b = barrier_of(w, i);
  if (w.active != w.live) fail(w, "bar: not all threads of the warp take part");
  const uint32_t named = i.b ? uniform(w, i.b) : 0, expected = named ? named : threads_alive(*w.block);
  if (expected % kLanes) fail(w, "bar: " + std::to_string(expected) + " threads are no whole warps");
  if (b.arrived && named && b.expected != expected) fail(w, "bar: warps expect different numbers of threads");
  b.expected = expected;
  b.arrived += kLanes;
  if (b.arrived > b.expected) fail(w, "bar: more threads than expected");
  if (b.arrived < b.expected) return;
  b.result_any = b.any, b.result_all = b.all, b.result_count = b.count;
  b.arrived = b.any = b.count = 0, b.all = 1;
  ++b.generation;
}

void wait(Warp& w, const Instruction& i, uint32_t generation) {
  Barrier& b = barrier_of(w, i);
  const Instruction* const instruction = &i;
  const uint32_t lanes = w.active;
  w.waits_for = "at barrier " + std::to_string(&b - w.block->barriers.data());
  w.waits = [&w, &b, instruction, generation, lanes] {
    if (b.generation == generation) return false;
    w.active = lanes;
    const auto reduction = static_cast<Reduction>(instruction->flags);
    if (reduction == Reduction::kCount)
      for_lanes(w, [&](int l) { w.at<uint32_t>(instruction->d)[l] = b.result_count; });
    else if (reduction != Reduction::kNone)
      w.set_predicate(instruction->d, (reduction == Reduction::kAnd ? b.result_all : b.result_any) ? ~0u : 0);
    return true;
  };
}

Step arrive_only(Warp& w, const Instruction& i) {
  arrive(w, i);
  return Step::kNext;
}

Step sync(Warp& w, const Instruction& i) {
  const uint32_t generation = barrier_of(w, i).generation;
  arrive(w, i);
  wait(w, i, generation);
  return Step::kWait;
}

Step reduce(Warp& w, const Instruction& i) {
  Barrier& b = barrier_of(w, i);
  const uint32_t p = (w.predicate(i.c) ^ static_cast<uint32_t>(i.offset)) & w.active;
  b.any |= p != 0;
  b.all &= p == w.active;
  b.count += static_cast<uint32_t>(__builtin_popcount(p));
  return sync(w, i);
}

uint32_t warps_of(const Cluster& cluster) {
  uint32_t warps = 0;
  for (const auto& block : cluster.blocks) warps += static_cast<uint32_t>(block->warps.size());
  return warps;
}

Step cluster_arrive(Warp& w, const Instruction&) {
  Cluster& cluster = *w.block->cluster;
  w.cluster_phase = cluster.phase;
  if (++cluster.arrived == warps_of(cluster)) cluster.arrived = 0, ++cluster.phase;
  return Step::kNext;
}

Step cluster_wait(Warp& w, const Instruction&) {
  w.waits_for = "at barrier.cluster";
  w.waits = [&w] { return w.block->cluster->phase != w.cluster_phase; };
  return Step::kWait;
}

Step nothing(Warp&, const Instruction&) { return Step::kNext; }

}  // namespace

Handler decode_barrier(Decoder& d) {
  Instruction& i = *d.now;
  if (d.has("warp")) {  // bar.warp.sync: that its lanes have come is all it does
    d.members(0);
    return nothing;
  }
  i.together = Together::kAll;
  if (d.has("cluster")) return d.has("arrive") ? cluster_arrive : cluster_wait;
  const Text reduction = d.opcode.one_of("popc and or");
  const size_t first = d.has("red") ? 1 : 0, given = d.operands.size();
  i.a = d.source(first, 4);
  if (given > 2 * first + 1) i.b = d.source(first + 1, 4);
  if (!d.has("red")) return d.has("arrive") ? arrive_only : sync;
  i.flags = static_cast<uint8_t>(reduction == "popc"  ? Reduction::kCount
                                 : reduction == "and" ? Reduction::kAnd
                                                      : Reduction::kOr);
  i.d = d.destination(0, reduction == "popc" ? 4 : 0);
  bool negated = false;
  i.c = d.predicate(d.operands.back(), negated);
  i.offset = negated ? -1 : 0;
  return reduce;
}

}  // namespace hgfast::ptx
