// exp of vectors for arguments up to 0, as softmax has them.
#pragma once

#include <cmath>

#include "cpu/vecmath.h"

namespace hgfast::cpu::HGFAST_ISA {

// Cody-Waite reduction to |r| <= ln(2) / 2 and a polynomial; relative error below 2e-7. Below -87 the value at -87,
// about 1.6e-38, stands for 0. NaN stays NaN.
static inline VecF exp_nonpositive(VecF x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: added, a float's last bits are the nearest integer
  const VecF lowest = broadcast<VecF>(-87.0f);
  x = x < lowest ? lowest : x;
  const VecF shifted = x * kLog2E + kRound, n = shifted - kRound;
  const VecF r = (x - n * kLn2High) - n * kLn2Low;
  VecF p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return bit_cast<VecF>(bit_cast<VecU>(p) + (bit_cast<VecU>(shifted) << 23));  // times 2^n
}
static inline VecD exp_nonpositive(VecD x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}

}  // namespace hgfast::cpu::HGFAST_ISA
