// Arithmetic of f16, bf16 and pairs of them: in double, then rounded once.
#include <cmath>

#include "half.h"
#include "lanewise.h"

namespace hgfast::ptx {

namespace {

struct Add {
  static double f(double a, double b) { return a + b; }
};
struct Sub {
  static double f(double a, double b) { return a - b; }
};
struct Mul {
  static double f(double a, double b) { return a * b; }
};
struct Min {
  static double f(double a, double b) {
    if (std::isnan(a)) return b;
    if (std::isnan(b)) return a;
    return a == b ? (std::signbit(a) ? a : b) : (a < b ? a : b);
  }
};
struct Max {
  static double f(double a, double b) { return -Min::f(-a, -b); }
};
template <class F>
struct WithNan {
  static double f(double a, double b) { return std::isnan(a) || std::isnan(b) ? NAN : F::f(a, b); }
};
struct Neg {
  static double f(double a) { return -a; }
};
struct Abs {
  static double f(double a) { return std::fabs(a); }
};
struct Exp2 {
  static double f(double a) { return std::exp2(a); }
};
struct Tanh {
  static double f(double a) { return std::tanh(a); }
};
struct MultiplyAdd {
  static double f(double a, double b, double c) { return a * b + c; }  // exact in double but for the sum's last bits
};

// One element of H by F.
template <class H, class F>
struct Single {
  template <class... Bits>
  static uint16_t f(Bits... bits) {
    return H::nearest(round_to_odd(F::f(double{H::value(bits)}...)));
  }
};
template <class H, class F>
struct Pair {
  template <class... Bits>
  static uint32_t f(Bits... bits) {
    const uint32_t low = Single<H, F>::f(static_cast<uint16_t>(bits)...);
    return low | uint32_t{Single<H, F>::f(static_cast<uint16_t>(bits >> 16)...)} << 16;
  }
};

template <class F>
Handler unary_of(const std::string& type) {
  if (type == "f16") return unary<uint16_t, Single<Half, F>>;
  if (type == "bf16") return unary<uint16_t, Single<BFloat16, F>>;
  return type == "f16x2" ? unary<uint32_t, Pair<Half, F>> : unary<uint32_t, Pair<BFloat16, F>>;
}
template <class F>
Handler binary_of(const std::string& type) {
  if (type == "f16") return binary<uint16_t, Single<Half, F>>;
  if (type == "bf16") return binary<uint16_t, Single<BFloat16, F>>;
  return type == "f16x2" ? binary<uint32_t, Pair<Half, F>> : binary<uint32_t, Pair<BFloat16, F>>;
}

}  // namespace

Handler half_arithmetic(const std::string& name, const std::string& type, bool nan) {
  if (name == "add") return binary_of<Add>(type);
  if (name == "sub") return binary_of<Sub>(type);
  if (name == "mul") return binary_of<Mul>(type);
  if (name == "min") return nan ? binary_of<WithNan<Min>>(type) : binary_of<Min>(type);
  if (name == "max") return nan ? binary_of<WithNan<Max>>(type) : binary_of<Max>(type);
  if (name == "neg") return unary_of<Neg>(type);
  if (name == "abs") return unary_of<Abs>(type);
  if (name == "ex2") return unary_of<Exp2>(type);
  return name == "tanh" ? unary_of<Tanh>(type) : nullptr;
}

Handler half_multiply_add(const std::string& type) {
  if (type == "f16") return ternary<uint16_t, Single<Half, MultiplyAdd>>;
  if (type == "bf16") return ternary<uint16_t, Single<BFloat16, MultiplyAdd>>;
  return type == "f16x2" ? ternary<uint32_t, Pair<Half, MultiplyAdd>> : ternary<uint32_t, Pair<BFloat16, MultiplyAdd>>;
}

}  // namespace hgfast::ptx
