// and, or, xor, not of bits and predicates; shifts; lop3 (PTX ISA, "Logic and Shift Instructions").
#include <algorithm>
#include <type_traits>

#include "decoder.h"
#include "families.h"
#include "lanewise.h"

namespace hgfast::ptx {

namespace {

struct And {
  template <class T>
  static T f(T a, T b) {
    return a & b;
  }
};
struct Or {
  template <class T>
  static T f(T a, T b) {
    return a | b;
  }
};
struct Xor {
  template <class T>
  static T f(T a, T b) {
    return a ^ b;
  }
};
struct Not {
  template <class T>
  static T f(T a) {
    return static_cast<T>(~a);
  }
};

template <class F>
Step of_predicates(Warp& w, const Instruction& i) {
  w.set_predicate(i.d, F::f(w.predicate(i.a), w.predicate(i.b)));
  return Step::kNext;
}
Step not_predicate(Warp& w, const Instruction& i) {
  w.set_predicate(i.d, ~w.predicate(i.a));
  return Step::kNext;
}

template <class F>
Handler logic_of(int bytes) {
  if (bytes == 0) return of_predicates<F>;
  return bytes == 2 ? binary<uint16_t, F> : bytes == 4 ? binary<uint32_t, F> : binary<uint64_t, F>;
}

// Shifts by more than the width give what the width gives.
template <class T, bool kLeft>
Step shift(Warp& w, const Instruction& i) {
  T* const d = w.at<T>(i.d);
  const T* const a = w.at<T>(i.a);
  const uint32_t* const b = w.at<uint32_t>(i.b);
  constexpr uint32_t kBits = 8 * sizeof(T);
  for_lanes(w, [=](int l) {
    if (kLeft)
      d[l] = b[l] >= kBits ? T{0} : static_cast<T>(std::make_unsigned_t<T>(a[l]) << b[l]);
    else
      d[l] = b[l] >= kBits ? static_cast<T>(a[l] < 0 ? -1 : 0) : static_cast<T>(a[l] >> b[l]);
  });
  return Step::kNext;
}

Step lop3(Warp& w, const Instruction& i) {
  uint32_t* const d = w.at<uint32_t>(i.d);
  const uint32_t *const a = w.at<uint32_t>(i.a), *const b = w.at<uint32_t>(i.b), *const c = w.at<uint32_t>(i.c);
  const auto table = static_cast<uint32_t>(i.offset);
  for_lanes(w, [=](int l) {
    uint32_t result = 0;
    for (uint32_t k = 0; k < 8; ++k)
      if (table >> k & 1) result |= (k & 4 ? a[l] : ~a[l]) & (k & 2 ? b[l] : ~b[l]) & (k & 1 ? c[l] : ~c[l]);
    d[l] = result;
  });
  return Step::kNext;
}

template <bool kLeft>
Step funnel_shift(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    const uint64_t both = uint64_t{w.at<uint32_t>(i.b)[l]} << 32 | w.at<uint32_t>(i.a)[l];
    const uint32_t wish = w.at<uint32_t>(i.c)[l], n = i.flags ? wish & 31 : std::min(wish, 32u);  // .wrap or .clamp
    w.at<uint32_t>(i.d)[l] = static_cast<uint32_t>(kLeft ? both << n >> 32 : both >> n);
  });
  return Step::kNext;
}

}  // namespace

Handler decode_logic(Decoder& d) {
  Instruction& i = *d.now;
  const int bytes = d.bytes();
  i.d = d.destination(0, bytes), i.a = d.source(1, bytes);
  if (d.opcode.name == "not") {
    if (bytes == 0) return not_predicate;
    return bytes == 2 ? unary<uint16_t, Not> : bytes == 4 ? unary<uint32_t, Not> : unary<uint64_t, Not>;
  }
  i.b = d.source(2, bytes);
  return d.opcode.name == "and"  ? logic_of<And>(bytes)
         : d.opcode.name == "or" ? logic_of<Or>(bytes)
                                 : logic_of<Xor>(bytes);
}

Handler decode_shift(Decoder& d) {
  Instruction& i = *d.now;
  const int bytes = d.bytes();
  i.d = d.destination(0, bytes), i.a = d.source(1, bytes), i.b = d.source(2, 4);
  if (d.opcode.name == "shl")
    return bytes == 2 ? shift<uint16_t, true> : bytes == 4 ? shift<uint32_t, true> : shift<uint64_t, true>;
  if (is_signed(d.type()))
    return bytes == 2 ? shift<int16_t, false> : bytes == 4 ? shift<int32_t, false> : shift<int64_t, false>;
  return bytes == 2 ? shift<uint16_t, false> : bytes == 4 ? shift<uint32_t, false> : shift<uint64_t, false>;
}

Handler decode_funnel_shift(Decoder& d) {
  Instruction& i = *d.now;
  i.d = d.destination(0, 4), i.a = d.source(1, 4), i.b = d.source(2, 4), i.c = d.source(3, 4);
  i.flags = d.has("wrap");
  return d.has("l") ? funnel_shift<true> : funnel_shift<false>;
}

Handler decode_lop3(Decoder& d) {
  Instruction& i = *d.now;
  i.d = d.destination(0, 4), i.a = d.source(1, 4), i.b = d.source(2, 4), i.c = d.source(3, 4);
  i.offset = d.immediate(4);
  return lop3;
}

}  // namespace hgfast::ptx
