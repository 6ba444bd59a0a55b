// setp (PTX ISA, "Comparison and Selection Instructions"): d = a cmp b, and d2 = its opposite, combined with c.
#include "decoder.h"
#include "families.h"
#include "half.h"
#include "machine.h"

namespace hgfast::ptx {

namespace {

enum Flag : uint8_t { kAnd = 1, kOr = 2, kXor = 3, kNegated = 4 };

#define HGFAST_COMPARE(NAME, EXPRESSION) \
  struct NAME {                          \
    template <class T>                   \
    static bool f(T a, T b) {            \
      return EXPRESSION;                 \
    }                                    \
  };
HGFAST_COMPARE(Eq, a == b)
HGFAST_COMPARE(Lt, a < b)
HGFAST_COMPARE(Le, a <= b)
HGFAST_COMPARE(Gt, a > b)
HGFAST_COMPARE(Ge, a >= b)
HGFAST_COMPARE(Ne, a<b || a> b)  // false for NaN
HGFAST_COMPARE(Num, a == a && b == b)
#undef HGFAST_COMPARE
// The unordered forms are true for NaN: each is the opposite of an ordered one.
template <class C>
struct Not {
  template <class T>
  static bool f(T a, T b) {
    return !C::f(a, b);
  }
};

template <class H, class C>
struct OfHalves {
  static bool f(uint16_t a, uint16_t b) { return C::f(H::value(a), H::value(b)); }
};

template <class T, class C>
Step setp(Warp& w, const Instruction& i) {
  const T *const a = w.at<T>(i.a), *const b = w.at<T>(i.b);
  uint32_t bits = 0;
  for (int l = 0; l < kLanes; ++l) bits |= uint32_t{C::f(a[l], b[l])} << l;
  uint32_t opposite = ~bits;
  if (i.flags) {
    const uint32_t other = w.predicate(i.c) ^ (i.flags & kNegated ? ~0u : 0);
    auto combined = [&](uint32_t p) {
      const int with = i.flags & 3;
      return with == kAnd ? p & other : with == kOr ? p | other : p ^ other;
    };
    bits = combined(bits), opposite = combined(opposite);
  }
  w.set_predicate(i.d2, opposite);
  w.set_predicate(i.d, bits);
  return Step::kNext;
}

template <class C>
Handler of_float(const Text& type) {
  if (type == "f32") return setp<float, C>;
  if (type == "f64") return setp<double, C>;
  if (type == "f16") return setp<uint16_t, OfHalves<Half, C>>;
  return type == "bf16" ? setp<uint16_t, OfHalves<BFloat16, C>> : nullptr;
}

template <class C>
Handler of_integer(const Text& type) {
  if (is_signed(type)) return type == "s16" ? setp<int16_t, C> : type == "s32" ? setp<int32_t, C> : setp<int64_t, C>;
  const int bytes = type_bytes(type);
  return bytes == 2 ? setp<uint16_t, C> : bytes == 4 ? setp<uint32_t, C> : bytes == 8 ? setp<uint64_t, C> : nullptr;
}

Handler compare_floats(const Text& how, const Text& type) {
  if (how == "eq") return of_float<Eq>(type);
  if (how == "ne") return of_float<Ne>(type);
  if (how == "lt") return of_float<Lt>(type);
  if (how == "le") return of_float<Le>(type);
  if (how == "gt") return of_float<Gt>(type);
  if (how == "ge") return of_float<Ge>(type);
  if (how == "num") return of_float<Num>(type);
  if (how == "nan") return of_float<Not<Num>>(type);
  if (how == "equ") return of_float<Not<Ne>>(type);
  if (how == "neu") return of_float<Not<Eq>>(type);
  if (how == "ltu") return of_float<Not<Ge>>(type);
  if (how == "leu") return of_float<Not<Gt>>(type);
  if (how == "gtu") return of_float<Not<Le>>(type);
  return how == "geu" ? of_float<Not<Lt>>(type) : nullptr;
}

Handler compare_integers(const Text& how, const Text& type) {
  if (how == "eq") return of_integer<Eq>(type);
  if (how == "ne") return of_integer<Not<Eq>>(type);
  if (how == "lt" || how == "lo") return of_integer<Lt>(type);
  if (how == "le" || how == "ls") return of_integer<Le>(type);
  if (how == "gt" || how == "hi") return of_integer<Gt>(type);
  return how == "ge" || how == "hs" ? of_integer<Ge>(type) : nullptr;
}

}  // namespace

Handler decode_setp(Decoder& d) {
  Instruction& i = *d.now;
  if (d.has("ftz")) return nullptr;
  d.destinations(d.operand(0), 0, i.d, i.d2);
  i.a = d.source(1, d.bytes()), i.b = d.source(2, d.bytes());
  const Text combine = d.opcode.one_of("and or xor");
  if (!combine.empty()) {
    bool negated = false;
    i.c = d.predicate(d.operand(3), negated);
    i.flags = static_cast<uint8_t>((combine == "and" ? kAnd : combine == "or" ? kOr : kXor) | (negated ? kNegated : 0));
  }
  const Text how = d.opcode.one_of("eq ne lt le gt ge lo ls hi hs equ neu ltu leu gtu geu num nan");
  return is_float(d.type()) ? compare_floats(how, d.type()) : compare_integers(how, d.type());
}

}  // namespace hgfast::ptx
