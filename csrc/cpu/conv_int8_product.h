// Products of 8 bits for the GEMM (conv_gemm.h): its numbers of 4 bytes are four codes (uint8), or four weights (int8),
// of neighbouring channels; their four products are added to an int32 without any error. One instruction with VNNI (128
// operations), else bytes widened to 16 bits and multiplied in pairs, else one after the other.
#pragma once

#include "cpu/codes.h"

namespace hgfast::cpu::HGFAST_ISA {

#if defined(__AVX512VNNI__)
constexpr bool kFastInt8 = true;
constexpr const char* kInt8Kernel = "direct, int8 products";
#else
constexpr bool kFastInt8 = false;
constexpr const char* kInt8Kernel = "direct, int8 products in int16";
#endif

struct Int8Product {
  using Sum = VecI;

  [[gnu::always_inline]] static VecF spread(float x) {
    return bit_cast<VecF>(VecU{} + bit_cast<uint32_t>(x));  // no arithmetic on what may look like a NaN
  }

#if defined(__AVX512VNNI__)
  [[gnu::always_inline]] static VecI add(VecI sum, VecF x, VecF weight) {
    return (VecI)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)weight);
  }
#else
  // The codes of even and of odd channels in 16 bits, and so the weights, with their signs.
  [[gnu::always_inline]] static VecI add(VecI sum, VecF x, VecF weight) {
    const VecU codes = bit_cast<VecU>(x), even = codes & 0x00ff00ffu, odd = codes >> 8 & 0x00ff00ffu;
    const VecS weights = bit_cast<VecS>(weight);
    return sum + pairs(even, weights << 8 >> 8) + pairs(odd, weights >> 8);
  }

 private:
  typedef int16_t VecS __attribute__((vector_size(kVecBytes)));

#if defined(__AVX512BW__)
  [[gnu::always_inline]] static VecI pairs(VecU a, VecS b) { return (VecI)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
#elif defined(__AVX2__)
  [[gnu::always_inline]] static VecI pairs(VecU a, VecS b) { return (VecI)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
#else
  [[gnu::always_inline]] static VecI pairs(VecU a, VecS b) {
    const VecI x = bit_cast<VecI>(a), y = bit_cast<VecI>(b);
    return (x & 0xffff) * (bit_cast<VecI>(bit_cast<VecU>(b) << 16) >> 16) + (x >> 16) * (y >> 16);
  }
#endif
#endif
};

}  // namespace hgfast::cpu::HGFAST_ISA
