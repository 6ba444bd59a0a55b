// wgmma: issue, groups and waits (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"). A product belongs to
// its four warps: it is computed once all of them have issued it, at their wait (late) or at once.
#include "wgmma.h"

#include "decoder.h"
#include "families.h"

namespace hgfast::ptx {

namespace {

using namespace wgmma_flag;

enum Use : uint8_t { kAccumulator = 1, kOperand = 2 };

void group_of(Warp& w, Warp* (&group)[kWarpgroup]) {
  const size_t first = w.id / kWarpgroup * kWarpgroup;
  if (first + kWarpgroup > w.block->warps.size()) fail(w, "wgmma in a warp of no whole warpgroup");
  for (size_t k = 0; k < kWarpgroup; ++k) group[k] = w.block->warps[first + k].get();
}

void mark(Warp& w, const Instruction& i) {
  for (size_t k = 0; k < i.list.size(); ++k) w.products.uses[i.list[k] / 64] = k < i.n / 2 ? kAccumulator : kOperand;
}

// Computes the group's products, in order, as far as all four warps have issued them, up to number `target`.
void advance(Warp& w, uint64_t target) {
  Warp* group[kWarpgroup];
  group_of(w, group);
  while (group[0]->products.computed < target) {
    for (const Warp* warp : group)
      if (warp->products.issued.empty()) return;
    const Product product = group[0]->products.issued.front();
    for (Warp* warp : group) {
      const Product& other = warp->products.issued.front();
      if (other.instruction != product.instruction || other.a != product.a || other.b != product.b ||
          other.accumulate != product.accumulate)
        fail(*warp, "wgmma: the four warps of a warpgroup issue different products");
    }
    compute_product(group, product);
    for (Warp* warp : group) warp->products.issued.pop_front(), ++warp->products.computed;
  }
}

uint64_t descriptor(const Warp& w, Register r) {
  const uint64_t* const values = w.at<uint64_t>(r);
  for (int l = 1; l < kLanes; ++l)
    if (values[l] != values[0]) fail(w, l, "wgmma: the lanes of a warp have different descriptors");
  return values[0];
}

Step issue(Warp& w, const Instruction& i) {
  ++stats.wgmma;
  ProductQueue& queue = w.products;
  if (!queue.fenced) fail(w, "wgmma without a wgmma.fence since the last wait for all");
  const uint32_t accumulate = w.predicate(i.c);
  if (accumulate != 0 && accumulate != kAllLanes) fail(w, "wgmma: scale-d differs between the lanes of a warp");
  const uint64_t a = i.flags & kARegisters ? 0 : descriptor(w, i.a);
  queue.issued.push_back({&i, a, descriptor(w, i.b), accumulate != 0});
  queue.in_flight.push_back(&i);
  queue.uses.resize(w.block->launch->entry.register_bytes / 64 + 1);
  mark(w, i);
  ++queue.count;
  Warp* group[kWarpgroup];
  group_of(w, group);
  if (!options.lazy) advance(w, ~uint64_t{0});
  return Step::kNext;
}

Step commit(Warp& w, const Instruction&) {
  w.products.groups.push_back(w.products.count);
  return Step::kNext;
}

Step wait(Warp& w, const Instruction& i) {
  ProductQueue& queue = w.products;
  const auto keep = static_cast<size_t>(i.offset);
  if (!keep) queue.fenced = false;
  if (queue.groups.size() <= keep) return Step::kNext;
  const uint64_t target = queue.groups[queue.groups.size() - 1 - keep];
  advance(w, target);
  if (queue.computed < target) {
    w.waits_for = "waits for a wgmma that not all four warps have issued";
    return Step::kRetry;
  }
  while (queue.groups.size() > keep) queue.groups.pop_front();
  for (; queue.landed < target; ++queue.landed, queue.in_flight.pop_front())
    for (Register r : queue.in_flight.front()->list) queue.uses[r / 64] = 0;
  for (const Instruction* other : queue.in_flight) mark(w, *other);  // it may share registers with one that landed
  return Step::kNext;
}

Step fence(Warp& w, const Instruction&) {
  w.products.fenced = true;
  return Step::kNext;
}

int sign_or_flag(const Decoder& d, size_t index) {
  return index < d.operands.size() ? static_cast<int>(d.immediate(index)) : 0;
}

// "d, a, b, scale-d, imm-scale-a, imm-scale-b, imm-trans-a, imm-trans-b"; a in registers has no imm-trans-a.
void decode_product(Decoder& d, bool registers) {
  Instruction& i = *d.now;
  for (const Text& r : vector_elements(d.operand(0))) {
    i.list.push_back(d.destination(r, 4));
    d.source(r, 4);
  }
  if (registers)
    for (const Text& r : vector_elements(d.operand(1))) i.list.push_back(d.source(r, 4));
  else
    i.a = d.source(1, 8);
  for (Register r : i.list) d.pin(r);  // in use until the wait, wherever that is
  i.b = d.source(2, 8), i.c = d.source(3, 0);
  uint8_t flags = registers ? kARegisters : 0;
  if (sign_or_flag(d, 4) < 0) flags |= kNegateA;
  if (sign_or_flag(d, 5) < 0) flags |= kNegateB;
  if (!registers && sign_or_flag(d, 6)) flags |= kTransposeA;
  if (sign_or_flag(d, registers ? 6 : 7)) flags |= kTransposeB;
  i.flags = flags;
}

}  // namespace

void check_products_in_flight(const Warp& w, const Instruction& i) {
  if (i.run == issue) return;  // products run in order
  const auto& uses = w.products.uses;
  for (Register r : i.reads)
    if (uses[r / 64] == kAccumulator) fail(w, "reads an accumulator of a wgmma that it has not waited for");
  for (Register r : i.writes)
    if (uses[r / 64]) fail(w, "writes a register of a wgmma that it has not waited for");
}

Handler decode_wgmma(Decoder& d) {
  Instruction& i = *d.now;
  i.together = Together::kWarp;
  if (d.has("fence")) return fence;
  if (d.has("commit_group")) return commit;
  if (d.has("wait_group")) {
    i.offset = d.immediate(0);
    return wait;
  }
  const auto& types = d.opcode.types;  // of D, A, B
  if (types.size() != 3 || types[0] != "f32" || types[1] != types[2]) return nullptr;
  if (types[1] != "f16" && types[1] != "bf16" && types[1] != "tf32") return nullptr;
  decode_product(d, d.operand(1)[0] == '{');
  const size_t accumulators = vector_elements(d.operand(0)).size();
  i.n = static_cast<uint32_t>(2 * accumulators);
  const bool tf32 = types[1] == "tf32";
  i.offset = static_cast<int64_t>(tf32                ? WgmmaType::kTf32
                                  : types[1] == "f16" ? WgmmaType::kHalf
                                                      : WgmmaType::kBFloat16);
  if (tf32 && i.flags & (kTransposeA | kTransposeB)) return nullptr;
  if (i.list.size() != accumulators + (i.flags & kARegisters ? 4 : 0)) d.refuse("the number of registers");
  const Text shape = "m64n" + std::to_string(i.n) + (tf32 ? "k8" : "k16");
  return d.has(shape.c_str()) && i.n % 8 == 0 && i.n <= kWgmmaColumns ? issue : nullptr;
}

}  // namespace hgfast::ptx
