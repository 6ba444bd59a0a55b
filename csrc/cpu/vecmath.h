// What the kernels need of SIMD beyond arithmetic: comparison tests, maxima, reversal, transposition.
#pragma once

#include <utility>

#include "cpu/vec.h"

namespace hgfast::cpu::HGFAST_ISA {

// b where a is NaN.
static inline VecF max_of(VecF a, VecF b) {
#if defined(__AVX512F__)
  return (VecF)_mm512_max_ps((__m512)a, (__m512)b);  // GCC does not always see that the line below is this
#else
  return a > b ? a : b;
#endif
}
static inline VecD max_of(VecD a, VecD b) { return a > b ? a : b; }

template <class V, class R>
static inline V broadcast(R value) {
  return value - V{};
}

// Bit i is set where lane i of a is at least b's. Not for NaN.
static inline uint32_t lanes_at_least(VecF a, VecF b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ);
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GE_OQ));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes<float>; ++i) bits |= static_cast<uint32_t>(a[i] >= b[i]) << i;
  return bits;
#endif
}
static inline uint32_t lanes_at_least(VecD a, VecD b) {
  uint32_t bits = 0;
  for (int i = 0; i < kLanes<double>; ++i) bits |= static_cast<uint32_t>(a[i] >= b[i]) << i;
  return bits;
}

// Largest lane; no lane may be NaN.
template <class V>
static inline auto max_lane(V v) {
  constexpr int kCount = sizeof(V) / sizeof(v[0]);
  auto best = v[0];
  for (int i = 1; i < kCount; ++i) best = v[i] > best ? v[i] : best;
  return best;
}

template <class V, int... kLane>
static inline V reverse_lanes(V v, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(v, v, static_cast<int>(sizeof...(kLane)) - 1 - kLane...);
}
template <class V, int... kLane>
static inline V reverse_after_lanes(V first, V v, std::integer_sequence<int, kLane...>) {
  constexpr int kCount = sizeof...(kLane);
  return __builtin_shufflevector(first, v, (kLane == 0 ? 0 : 2 * kCount - kLane)...);
}
template <class V>
using LaneNumbers = std::make_integer_sequence<int, sizeof(V) / sizeof(std::declval<V>()[0])>;

// The lanes in the opposite order.
template <class V>
static inline V reverse(V v) {
  return reverse_lanes(v, LaneNumbers<V>{});
}
// Lane 0 of `first`, then the lanes of v in the opposite order but for v's lane 0.
template <class V>
static inline V reverse_after(V first, V v) {
  return reverse_after_lanes(first, v, LaneNumbers<V>{});
}

template <int kHalf, class V, int... kLane>
static inline V interleave_lanes(V a, V b, std::integer_sequence<int, kLane...>) {
  constexpr int kCount = sizeof...(kLane);
  return __builtin_shufflevector(a, b, (kLane / 2 + kHalf * kCount / 2 + kLane % 2 * kCount)...);
}

// rows[i][j] becomes rows[j][i], for as many vectors as a vector has lanes: each round interleaves the two halves.
template <class V, size_t kCount>
static inline void transpose(V (&rows)[kCount]) {
  static_assert(kCount == sizeof(V) / sizeof(rows[0][0]));
  for (size_t round = 1; round < kCount; round *= 2) {
    V next[kCount];
    for (size_t i = 0; i < kCount / 2; ++i) {
      next[2 * i] = interleave_lanes<0>(rows[i], rows[i + kCount / 2], LaneNumbers<V>{});
      next[2 * i + 1] = interleave_lanes<1>(rows[i], rows[i + kCount / 2], LaneNumbers<V>{});
    }
    for (size_t i = 0; i < kCount; ++i) rows[i] = next[i];
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
