// Portable SIMD: GCC/Clang vector extensions as wide as the instruction set this file is compiled for (HGFAST_ISA).
// Vec<float> serves float, Half and BFloat16 storage (arithmetic in float32); Vec<double> serves double.
#pragma once

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "cpu/half.h"

namespace hgfast::cpu::HGFAST_ISA {

#if defined(__AVX512F__)
constexpr int kVecBytes = 64;
#elif defined(__AVX2__)
constexpr int kVecBytes = 32;
#else
constexpr int kVecBytes = 16;
#endif

typedef float VecF __attribute__((vector_size(kVecBytes)));
typedef double VecD __attribute__((vector_size(kVecBytes)));
typedef uint32_t VecU __attribute__((vector_size(kVecBytes)));
typedef uint16_t VecU16 __attribute__((vector_size(kVecBytes / 2)));

// The arithmetic type of a storage type.
template <class T>
struct Compute {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};

template <class T>
struct VecOf {
  using type = VecF;
};
template <>
struct VecOf<double> {
  using type = VecD;
};
template <class T>
using Vec = typename VecOf<T>::type;

template <class T>
constexpr int kLanes = kVecBytes / sizeof(typename Compute<T>::type);

template <class T>
inline Vec<T> load(const T* p) {  // float and double; the halves are specialised below
  Vec<T> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
template <>
inline VecF load<BFloat16>(const BFloat16* p) {
  VecU16 raw;
  std::memcpy(&raw, p, sizeof(raw));
  return bit_cast<VecF>(__builtin_convertvector(raw, VecU) << 16);
}
template <>
inline VecF load<Half>(const Half* p) {
#if defined(__AVX512F__)
  return (VecF)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__)
  return (VecF)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  VecF v;
  for (int i = 0; i < kLanes<float>; ++i) v[i] = to_float(p[i]);
  return v;
#endif
}

inline void store(float* p, VecF v) { std::memcpy(p, &v, sizeof(v)); }
inline void store(double* p, VecD v) { std::memcpy(p, &v, sizeof(v)); }
// Rounded to bfloat16, in the low halves of the lanes.
inline VecU bfloat16_bits(VecF v) {
  const VecU bits = bit_cast<VecU>(v);
  const VecU rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
  const VecU quiet_nan = (bits >> 16) | 0x40;
  const VecU is_nan = bit_cast<VecU>(v != v);
  return (is_nan & quiet_nan) | (~is_nan & rounded);
}
inline void store(BFloat16* p, VecF v) {
#if defined(__AVX512BF16__)  // takes subnormal numbers for 0
  const auto out = _mm512_cvtneps_pbh((__m512)v);
#else
  const VecU16 out = __builtin_convertvector(bfloat16_bits(v), VecU16);
#endif
  std::memcpy(p, &out, sizeof(out));
}
inline void store(Half* p, VecF v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < kLanes<float>; ++i) p[i] = from_float<Half>(v[i]);
#endif
}

// Past the caches where the instruction set can (float to addresses that are multiples of kVecBytes): the line is not
// read first, and nothing else has to leave for it.
inline void stream(float* p, VecF v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, (__m256)v);
#else
  store(p, v);
#endif
}

// Makes what this thread streamed visible to those that it lets go on.
inline void end_streaming() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

inline void store_scalar(float* p, float v) { *p = v; }
inline void store_scalar(double* p, double v) { *p = v; }
template <class T>
inline void store_scalar(T* p, float v) {
  *p = from_float<T>(v);
}

}  // namespace hgfast::cpu::HGFAST_ISA
