// 16-bit floats and tf32 as bits, and rounding.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace hgfast::ptx {

inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

// A float rounded toward -inf ('m'), +inf ('p'), zero ('z'), or to nearest ('n').
inline float round_to_float(double exact, char mode) {
  const float nearest = static_cast<float>(exact);
  const double back = nearest;
  if (std::isnan(exact) || back == exact || mode == 'n') return nearest;
  if (mode == 'm' || (mode == 'z' && exact > 0)) return back > exact ? std::nextafterf(nearest, -INFINITY) : nearest;
  return back < exact ? std::nextafterf(nearest, INFINITY) : nearest;
}
// A float that rounds on to fewer bits as `exact` itself would: inexact values get their last bit set.
inline float round_to_odd(double exact) {
  const float nearest = static_cast<float>(exact);
  if (std::isnan(exact) || std::isinf(nearest) || static_cast<double>(nearest) == exact) return nearest;
  return float_of(bits_of(round_to_float(exact, 'z')) | 1);
}

struct Half {
  static float value(uint16_t bits) { return _cvtsh_ss(bits); }
  static uint16_t nearest(float v) { return static_cast<uint16_t>(_cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT)); }
  static uint16_t toward_zero(float v) { return static_cast<uint16_t>(_cvtss_sh(v, _MM_FROUND_TO_ZERO)); }
};

struct BFloat16 {
  static float value(uint16_t bits) { return float_of(uint32_t{bits} << 16); }
  static uint16_t nearest(float v) {
    const uint32_t bits = bits_of(v);
    if (std::isnan(v)) return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  static uint16_t toward_zero(float v) { return static_cast<uint16_t>(bits_of(v) >> 16); }
};

// tf32 keeps the upper 19 bits of a float; matrix instructions ignore the others.
inline float tf32_value(uint32_t bits) { return float_of(bits & 0xffffe000); }
inline bool is_finite_bits(uint32_t bits) { return (bits & 0x7f800000) != 0x7f800000; }
// cvt.rna: ties away from zero; cvt.rn: ties to even.
inline uint32_t tf32_ties_away(uint32_t bits) { return is_finite_bits(bits) ? (bits + 0x1000) & 0xffffe000 : bits; }
inline uint32_t tf32_ties_even(uint32_t bits) {
  return is_finite_bits(bits) ? (bits + 0xfff + (bits >> 13 & 1)) & 0xffffe000 : bits;
}

}  // namespace hgfast::ptx
