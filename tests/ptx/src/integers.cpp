// Integer arithmetic: wraps around; division by zero gives all ones (PTX ISA: unspecified).
#include <type_traits>

#include "lanewise.h"

namespace hgfast::ptx {

namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;

struct Add {
  template <class T>
  static T f(T a, T b) {
    return static_cast<T>(Unsigned<T>(a) + Unsigned<T>(b));
  }
};
struct Sub {
  template <class T>
  static T f(T a, T b) {
    return static_cast<T>(Unsigned<T>(a) - Unsigned<T>(b));
  }
};
struct Mul {
  template <class T>
  static T f(T a, T b) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
};
// The upper half of the product.
struct MulHigh {
  template <class T>
  static T f(T a, T b) {
    return static_cast<T>((static_cast<__int128>(a) * static_cast<__int128>(b)) >> (8 * sizeof(T)));
  }
};
struct Div {
  template <class T>
  static T f(T a, T b) {
    if (b == 0) return static_cast<T>(-1);
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(0 - Unsigned<T>(a));
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <class T>
  static T f(T a, T b) {
    if (b == 0) return a;
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
  }
};
struct Min {
  template <class T>
  static T f(T a, T b) {
    return b < a ? b : a;
  }
};
struct Max {
  template <class T>
  static T f(T a, T b) {
    return a < b ? b : a;
  }
};
struct Neg {
  template <class T>
  static T f(T a) {
    return static_cast<T>(0 - Unsigned<T>(a));
  }
};
struct Abs {
  template <class T>
  static T f(T a) {
    return a < 0 ? Neg::f(a) : a;
  }
};
struct MulAdd {
  template <class T>
  static T f(T a, T b, T c) {
    return Add::f(Mul::f(a, b), c);
  }
};
struct MulHighAdd {
  template <class T>
  static T f(T a, T b, T c) {
    return Add::f(MulHigh::f(a, b), c);
  }
};

template <class F>
Handler binary_of(const std::string& type) {
  if (type == "s16") return binary<int16_t, F>;
  if (type == "u16") return binary<uint16_t, F>;
  if (type == "s32") return binary<int32_t, F>;
  if (type == "u32") return binary<uint32_t, F>;
  if (type == "s64") return binary<int64_t, F>;
  return type == "u64" ? binary<uint64_t, F> : nullptr;
}

template <class F>
Handler signed_of(const std::string& type) {
  if (type == "s16") return unary<int16_t, F>;
  if (type == "s32") return unary<int32_t, F>;
  return type == "s64" ? unary<int64_t, F> : nullptr;
}

template <class F>
Handler ternary_of(const std::string& type) {
  if (type == "s16") return ternary<int16_t, F>;
  if (type == "u16") return ternary<uint16_t, F>;
  if (type == "s32") return ternary<int32_t, F>;
  if (type == "u32") return ternary<uint32_t, F>;
  if (type == "s64") return ternary<int64_t, F>;
  return type == "u64" ? ternary<uint64_t, F> : nullptr;
}

// The whole product, in a register of twice the size.
template <class T, class Wide, bool kAdds>
Step multiply_wide(Warp& w, const Instruction& i) {
  Wide* const d = w.at<Wide>(i.d);
  const T *const a = w.at<T>(i.a), *const b = w.at<T>(i.b);
  const Wide* const c = w.at<Wide>(i.c);
  for_lanes(w, [=](int l) {
    const Wide product = static_cast<Wide>(Wide{a[l]} * Wide{b[l]});
    d[l] = kAdds ? Add::f(product, c[l]) : product;
  });
  return Step::kNext;
}

template <bool kAdds>
Handler multiply_wide_of(const std::string& type) {
  if (type == "s32") return multiply_wide<int32_t, int64_t, kAdds>;
  if (type == "u32") return multiply_wide<uint32_t, uint64_t, kAdds>;
  if (type == "s16") return multiply_wide<int16_t, int32_t, kAdds>;
  return type == "u16" ? multiply_wide<uint16_t, uint32_t, kAdds> : nullptr;
}

}  // namespace

Handler integer_arithmetic(const std::string& name, const std::string& type, bool high) {
  if (name == "add") return binary_of<Add>(type);
  if (name == "sub") return binary_of<Sub>(type);
  if (name == "mul") return high ? binary_of<MulHigh>(type) : binary_of<Mul>(type);
  if (name == "div") return binary_of<Div>(type);
  if (name == "rem") return binary_of<Rem>(type);
  if (name == "min") return binary_of<Min>(type);
  if (name == "max") return binary_of<Max>(type);
  if (name == "neg") return signed_of<Neg>(type);
  return name == "abs" ? signed_of<Abs>(type) : nullptr;
}

Handler integer_multiply_add(const std::string& type, bool high) {
  return high ? ternary_of<MulHighAdd>(type) : ternary_of<MulAdd>(type);
}

Handler wide_multiply(const std::string& type, bool adds) {
  return adds ? multiply_wide_of<true>(type) : multiply_wide_of<false>(type);
}

}  // namespace hgfast::ptx
