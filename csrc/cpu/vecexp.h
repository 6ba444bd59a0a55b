// Powers of two of vectors for exponents up to 0, as softmax has them.
#pragma once

#include <cmath>

#include "cpu/vecmath.h"

namespace hgfast::cpu::HGFAST_ISA {

// 2^x for x <= 0: 2^n times a polynomial in x - n, |x - n| <= 1/2; relative error below 3e-7. NaN, -inf and all below
// -126 give 2^-126, about 1e-38, which stands for 0.
static inline VecF exp2_nonpositive(VecF x) {
  x = max_of(x, broadcast<VecF>(-126.0f));
#if defined(__AVX512F__)
  const VecF n = (VecF)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = x - n;
#else
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: added, a float's last bits are the nearest integer
  const VecF shifted = x + kRound, f = x - (shifted - kRound);
#endif
  VecF p = f * 1.33336498402e-3f + 9.61793571697e-3f;
  p = p * f + 5.55049713e-2f;
  p = p * f + 2.40225507e-1f;
  p = p * f + 6.93147182e-1f;
  p = p * f + 1.0f;
#if defined(__AVX512F__)
  return (VecF)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  return bit_cast<VecF>(bit_cast<VecU>(p) + (bit_cast<VecU>(shifted) << 23));  // times 2^n
#endif
}
static inline VecD exp2_nonpositive(VecD x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = x[i] > -1000 ? std::exp2(x[i]) : 0;
  return x;
}

}  // namespace hgfast::cpu::HGFAST_ISA
