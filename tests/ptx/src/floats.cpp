// Arithmetic of f32 and f64. Approximate functions give the exact value rounded: within the error that PTX allows.
#include <cmath>
#include <limits>

#include "half.h"
#include "lanewise.h"

namespace hgfast::ptx {

namespace {

struct Add {
  template <class T>
  static T f(T a, T b) {
    return a + b;
  }
};
struct Sub {
  template <class T>
  static T f(T a, T b) {
    return a - b;
  }
};
struct Mul {
  template <class T>
  static T f(T a, T b) {
    return a * b;
  }
};
struct Div {
  template <class T>
  static T f(T a, T b) {
    return a / b;
  }
};
// The number where one of both is NaN; -0 is less than +0.
struct Min {
  template <class T>
  static T f(T a, T b) {
    if (std::isnan(a)) return b;
    if (std::isnan(b)) return a;
    return a == b ? (std::signbit(a) ? a : b) : (a < b ? a : b);
  }
};
struct Max {
  template <class T>
  static T f(T a, T b) {
    return -Min::f(-a, -b);
  }
};
// min.NaN, max.NaN: the canonical NaN where one of both is.
template <class F>
struct WithNan {
  static float f(float a, float b) { return std::isnan(a) || std::isnan(b) ? float_of(0x7fffffff) : F::f(a, b); }
};
struct CopySign {  // the sign is the first operand's
  template <class T>
  static T f(T a, T b) {
    return std::copysign(b, a);
  }
};

#define HGFAST_UNARY(NAME, EXPRESSION) \
  struct NAME {                        \
    template <class T>                 \
    static T f(T a) {                  \
      return EXPRESSION;               \
    }                                  \
  };
HGFAST_UNARY(Neg, -a)
HGFAST_UNARY(Abs, std::fabs(a))
HGFAST_UNARY(Sqrt, std::sqrt(a))
HGFAST_UNARY(Reciprocal, T(1) / a)
HGFAST_UNARY(ReciprocalSqrt, T(1) / std::sqrt(a))
HGFAST_UNARY(Exp2, std::exp2(a))
HGFAST_UNARY(Log2, std::log2(a))
HGFAST_UNARY(Sin, std::sin(a))
HGFAST_UNARY(Cos, std::cos(a))
HGFAST_UNARY(Tanh, std::tanh(a))
#undef HGFAST_UNARY

// Directed rounding of f32 by way of double, which holds products exactly and sums nearly so.
template <class F, char kMode>
struct Directed {
  static float f(float a) { return round_to_float(F::f(static_cast<double>(a)), kMode); }
  static float f(float a, float b) {
    return round_to_float(F::f(static_cast<double>(a), static_cast<double>(b)), kMode);
  }
};
// .ftz: subnormal operands and results are zeros of their sign.
inline float flush(float v) { return std::fabs(v) < std::numeric_limits<float>::min() ? std::copysign(0.0f, v) : v; }
template <class F>
struct Flushed {
  static float f(float a) { return flush(F::f(flush(a))); }
  static float f(float a, float b) { return flush(F::f(flush(a), flush(b))); }
};

template <class F>
Handler binary_of(const std::string& type, char rounding, bool ftz) {
  if (type == "f64") return rounding == 'n' ? binary<double, F> : nullptr;
  if (type != "f32") return nullptr;
  if (ftz) return rounding == 'n' ? binary<float, Flushed<F>> : nullptr;
  switch (rounding) {
    case 'z':
      return binary<float, Directed<F, 'z'>>;
    case 'm':
      return binary<float, Directed<F, 'm'>>;
    case 'p':
      return binary<float, Directed<F, 'p'>>;
    default:
      return binary<float, F>;
  }
}

template <class F>
Handler unary_of(const std::string& type, char rounding, bool ftz) {
  if (rounding != 'n') return nullptr;
  if (type == "f64") return unary<double, F>;
  return type == "f32" ? (ftz ? unary<float, Flushed<F>> : unary<float, F>) : nullptr;
}

// rcp.approx.ftz.f64 reads and writes upper halves alone.
struct ReciprocalUpper {
  static double upper(double v) {
    uint64_t bits;
    std::memcpy(&bits, &v, 8);
    bits &= 0xffffffff00000000ull;
    std::memcpy(&v, &bits, 8);
    return v;
  }
  static double f(double a) { return upper(1.0 / upper(a)); }
};

struct Fma {
  static float f(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static double f(double a, double b, double c) { return __builtin_fma(a, b, c); }
};
template <char kMode>
struct DirectedFma {
  static float f(float a, float b, float c) { return round_to_float(double{a} * double{b} + double{c}, kMode); }
};

}  // namespace

Handler float_arithmetic(const std::string& name, const std::string& type, char rounding, bool nan, bool ftz) {
  if (name == "add") return binary_of<Add>(type, rounding, ftz);
  if (name == "sub") return binary_of<Sub>(type, rounding, ftz);
  if (name == "mul") return binary_of<Mul>(type, rounding, ftz);
  if (name == "div") return binary_of<Div>(type, rounding, ftz);
  if (name == "min" && nan) return type == "f32" ? binary<float, WithNan<Min>> : nullptr;
  if (name == "max" && nan) return type == "f32" ? binary<float, WithNan<Max>> : nullptr;
  if (name == "min") return binary_of<Min>(type, rounding, ftz);
  if (name == "max") return binary_of<Max>(type, rounding, ftz);
  if (name == "copysign") return binary_of<CopySign>(type, rounding, ftz);
  if (name == "neg") return unary_of<Neg>(type, rounding, ftz);
  if (name == "abs") return unary_of<Abs>(type, rounding, ftz);
  if (name == "rcp" && type == "f64" && ftz) return unary<double, ReciprocalUpper>;
  if (name == "rcp") return unary_of<Reciprocal>(type, rounding, ftz);
  if (name == "sqrt") return unary_of<Sqrt>(type, rounding, ftz);
  if (name == "rsqrt") return unary_of<ReciprocalSqrt>(type, rounding, ftz);
  if (name == "ex2") return unary_of<Exp2>(type, rounding, ftz);
  if (name == "lg2") return unary_of<Log2>(type, rounding, ftz);
  if (name == "sin") return unary_of<Sin>(type, rounding, ftz);
  if (name == "cos") return unary_of<Cos>(type, rounding, ftz);
  return name == "tanh" ? unary_of<Tanh>(type, rounding, ftz) : nullptr;
}

Handler float_multiply_add(const std::string& type, char rounding) {
  if (type == "f64") return rounding == 'n' ? ternary<double, Fma> : nullptr;
  if (type != "f32") return nullptr;
  switch (rounding) {
    case 'z':
      return ternary<float, DirectedFma<'z'>>;
    case 'm':
      return ternary<float, DirectedFma<'m'>>;
    case 'p':
      return ternary<float, DirectedFma<'p'>>;
    default:
      return ternary<float, Fma>;
  }
}

}  // namespace hgfast::ptx
