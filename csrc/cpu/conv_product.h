// What the GEMM multiplies. Its numbers are of 4 bytes: a float32, or a pair of numbers of half the width whose two
// products are summed in one instruction: twice the products of an FMA. Pairs of bfloat16 (AVX512_BF16) are summed in
// float32; pairs of int16 (AVX512_VNNI) without any error in int32, which whoever scales them must not let overflow.
#pragma once

#include "cpu/vec.h"

namespace hgfast::cpu::HGFAST_ISA {

struct FloatProduct {
  using Sum = VecF;
  [[gnu::always_inline]] static VecF spread(float x) { return x - VecF{}; }
  [[gnu::always_inline]] static VecF add(VecF sum, VecF x, VecF weight) { return sum + x * weight; }
};

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
constexpr bool kHasPairs = true;

struct Bfloat16Product {
  using Sum = VecF;
  [[gnu::always_inline]] static VecF spread(float x) { return (VecF)_mm512_set1_ps(x); }
  [[gnu::always_inline]] static VecF add(VecF sum, VecF x, VecF weight) {
    return (VecF)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)weight);
  }
};

struct Int16Product {
  using Sum = VecU;  // two's complement
  [[gnu::always_inline]] static VecF spread(float x) { return (VecF)_mm512_set1_ps(x); }
  [[gnu::always_inline]] static VecU add(VecU sum, VecF x, VecF weight) {
    return (VecU)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)x, (__m512i)weight);
  }
};
#else
constexpr bool kHasPairs = false;
#endif

}  // namespace hgfast::cpu::HGFAST_ISA
