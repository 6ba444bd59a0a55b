// What the GEMM multiplies. Its numbers are of 4 bytes: a float32, or a pair of bfloat16 whose two products are summed
// in float32 in one instruction (AVX512_BF16: twice the products of an FMA).
#pragma once

#include "cpu/vec.h"

namespace hgfast::cpu::HGFAST_ISA {

#if defined(__AVX512BF16__)
constexpr bool kHasPairs = true;
#else
constexpr bool kHasPairs = false;
#endif

struct FloatProduct {
  using Sum = VecF;
  [[gnu::always_inline]] static VecF spread(float x) { return x - VecF{}; }
  [[gnu::always_inline]] static VecF add(VecF sum, VecF x, VecF weight) { return sum + x * weight; }
};

#if defined(__AVX512BF16__)
struct PairProduct {
  using Sum = VecF;
  [[gnu::always_inline]] static VecF spread(float x) { return (VecF)_mm512_set1_ps(x); }
  [[gnu::always_inline]] static VecF add(VecF sum, VecF x, VecF weight) {
    return (VecF)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)weight);
  }
};
#endif

}  // namespace hgfast::cpu::HGFAST_ISA
