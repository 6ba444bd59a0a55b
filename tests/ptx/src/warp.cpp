// Instructions among the lanes of a warp: shfl, vote, activemask, elect, redux, match (PTX ISA, "Parallel
// Synchronization and Communication Instructions"). Those that name their lanes run when all of these have come.
#include <algorithm>

#include "decoder.h"
#include "families.h"
#include "machine.h"

namespace hgfast::ptx {

namespace {

enum class Shuffle : uint8_t { kUp, kDown, kButterfly, kIndex };

// The lane that is read, and whether it is within the segment (the text of "shfl.sync" in the manual).
int source_lane(Shuffle mode, int lane, uint32_t b, uint32_t c, bool& inside) {
  const int offset = static_cast<int>(b & 31), clamp = static_cast<int>(c & 31),
            segment = static_cast<int>(c >> 8 & 31);
  const int last = (lane & segment) | (clamp & ~segment), first = lane & segment;
  int from = 0;
  switch (mode) {
    case Shuffle::kUp:
      from = lane - offset;
      inside = from >= last;
      break;
    case Shuffle::kDown:
      from = lane + offset;
      inside = from <= last;
      break;
    case Shuffle::kButterfly:
      from = lane ^ offset;
      inside = from <= last;
      break;
    case Shuffle::kIndex:
      from = first | (offset & ~segment);
      inside = from <= last;
  }
  return inside ? from : lane;
}

Step shuffle(Warp& w, const Instruction& i) {
  uint32_t values[kLanes], inside_bits = 0;
  for_lanes(w, [&](int l) {
    bool inside = false;
    const int from =
        source_lane(static_cast<Shuffle>(i.flags), l, w.at<uint32_t>(i.b)[l], w.at<uint32_t>(i.c)[l], inside);
    if (!(w.active >> from & 1)) fail(w, l, "shfl reads lane " + std::to_string(from) + ", which does not take part");
    values[l] = w.at<uint32_t>(i.a)[from];
    inside_bits |= uint32_t{inside} << l;
  });
  for_lanes(w, [&](int l) { w.at<uint32_t>(i.d)[l] = values[l]; });
  w.set_predicate(i.d2, inside_bits);
  return Step::kNext;
}

void all_lanes(Warp& w, Register d, uint32_t value) {
  for_lanes(w, [&](int l) { w.at<uint32_t>(d)[l] = value; });
}

enum class Vote : uint8_t { kAll, kAny, kUniform, kBallot };

Step vote(Warp& w, const Instruction& i) {
  const uint32_t p = (w.predicate(i.a) ^ static_cast<uint32_t>(i.offset)) & w.active;
  const auto kind = static_cast<Vote>(i.flags);
  if (kind == Vote::kBallot) {
    all_lanes(w, i.d, p);
    return Step::kNext;
  }
  const bool all = p == w.active, none = p == 0;
  const bool result = kind == Vote::kAll ? all : kind == Vote::kAny ? !none : all || none;
  w.set_predicate(i.d, result ? ~0u : 0);
  return Step::kNext;
}

Step active_mask(Warp& w, const Instruction& i) {
  all_lanes(w, i.d, w.active);
  return Step::kNext;
}

Step elect(Warp& w, const Instruction& i) {
  const int leader = w.first_lane();
  all_lanes(w, i.d, static_cast<uint32_t>(leader));
  w.set_predicate(i.d2, 1u << leader);
  return Step::kNext;
}

template <class F>
Step reduce(Warp& w, const Instruction& i) {
  const uint32_t* const a = w.at<uint32_t>(i.a);
  uint32_t value = a[w.first_lane()];
  for (uint32_t left = w.active & (w.active - 1); left; left &= left - 1) value = F::f(value, a[__builtin_ctz(left)]);
  all_lanes(w, i.d, value);
  return Step::kNext;
}
#define HGFAST_REDUCTION(NAME, EXPRESSION)                           \
  struct NAME {                                                      \
    static uint32_t f(uint32_t a, uint32_t b) { return EXPRESSION; } \
  };
HGFAST_REDUCTION(Add, a + b)
HGFAST_REDUCTION(And, a& b)
HGFAST_REDUCTION(Or, a | b)
HGFAST_REDUCTION(Xor, a ^ b)
HGFAST_REDUCTION(Min, std::min(a, b))
HGFAST_REDUCTION(Max, std::max(a, b))
HGFAST_REDUCTION(SignedMin, static_cast<uint32_t>(std::min(static_cast<int32_t>(a), static_cast<int32_t>(b))))
HGFAST_REDUCTION(SignedMax, static_cast<uint32_t>(std::max(static_cast<int32_t>(a), static_cast<int32_t>(b))))
#undef HGFAST_REDUCTION

template <class T>
Step match_any(Warp& w, const Instruction& i) {
  const T* const a = w.at<T>(i.a);
  uint32_t same[kLanes];
  for_lanes(w, [&](int l) {
    same[l] = 0;
    for_lanes(w, [&](int k) { same[l] |= uint32_t{a[k] == a[l]} << k; });
  });
  for_lanes(w, [&](int l) { w.at<uint32_t>(i.d)[l] = same[l]; });
  return Step::kNext;
}

}  // namespace

Handler decode_shfl(Decoder& d) {
  Instruction& i = *d.now;
  d.destinations(d.operand(0), 4, i.d, i.d2);
  i.a = d.source(1, 4), i.b = d.source(2, 4), i.c = d.source(3, 4);
  d.members(4);
  const Text mode = d.opcode.one_of("up down bfly idx");
  const Shuffle kind = mode == "up"     ? Shuffle::kUp
                       : mode == "down" ? Shuffle::kDown
                       : mode == "bfly" ? Shuffle::kButterfly
                                        : Shuffle::kIndex;
  i.flags = static_cast<uint8_t>(kind);
  return shuffle;
}

Handler decode_vote(Decoder& d) {
  Instruction& i = *d.now;
  const Text mode = d.opcode.one_of("all any uni ballot");
  const Vote kind = mode == "all"   ? Vote::kAll
                    : mode == "any" ? Vote::kAny
                    : mode == "uni" ? Vote::kUniform
                                    : Vote::kBallot;
  i.flags = static_cast<uint8_t>(kind);
  i.d = d.destination(0, kind == Vote::kBallot ? 4 : 0);
  bool negated = false;
  i.a = d.predicate(d.operand(1), negated);
  i.offset = negated ? -1 : 0;
  d.members(2);
  return vote;
}

Handler decode_activemask(Decoder& d) {
  d.now->d = d.destination(0, 4);
  return active_mask;
}

Handler decode_elect(Decoder& d) {
  d.destinations(d.operand(0), 4, d.now->d, d.now->d2);
  d.members(1);
  return elect;
}

Handler decode_redux(Decoder& d) {
  d.now->d = d.destination(0, 4), d.now->a = d.source(1, 4);
  d.members(2);
  const Text what = d.opcode.one_of("add min max and or xor");
  const bool sign = is_signed(d.type());
  if (what == "add") return reduce<Add>;
  if (what == "min") return sign ? reduce<SignedMin> : reduce<Min>;
  if (what == "max") return sign ? reduce<SignedMax> : reduce<Max>;
  return what == "and" ? reduce<And> : what == "or" ? reduce<Or> : reduce<Xor>;
}

Handler decode_match(Decoder& d) {
  d.now->d = d.destination(0, 4), d.now->a = d.source(1, d.bytes());
  d.members(2);
  return !d.has("any") ? nullptr : d.bytes() == 8 ? match_any<uint64_t> : match_any<uint32_t>;
}

}  // namespace hgfast::ptx
