// Sixteen consecutive elements as one or more vectors: what the row kernels work in, and what 16 mask bits belong to.
#pragma once

#include "cpu/vec.h"

namespace hgfast::cpu::HGFAST_ISA {

constexpr int kBlock = 16;

// kParts vectors of the arithmetic type of T (float for half types).
template <class T>
struct Block {
  static constexpr int kParts = kBlock / kLanes<T>;
  Vec<T> v[kParts];
};

template <class T>
using Scalar = typename Compute<T>::type;

template <class T, class F>
inline Block<T> make_block(const F& part) {  // part(p) -> Vec<T>
  Block<T> b;
  for (int p = 0; p < Block<T>::kParts; ++p) b.v[p] = part(p);
  return b;
}

template <class T>
inline Block<T> splat(Scalar<T> value) {
  return make_block<T>([&](int) { return Vec<T>{} + value; });
}

template <class T>
inline Block<T> operator+(const Block<T>& a, const Block<T>& b) {
  return make_block<T>([&](int p) { return a.v[p] + b.v[p]; });
}
template <class T>
inline Block<T> operator-(const Block<T>& a, const Block<T>& b) {
  return make_block<T>([&](int p) { return a.v[p] - b.v[p]; });
}
template <class T>
inline Block<T> operator*(const Block<T>& a, const Block<T>& b) {
  return make_block<T>([&](int p) { return a.v[p] * b.v[p]; });
}

// The first `count` elements (0 in place of the others).
template <class T>
inline Block<T> load_block(const T* source, int64_t count = kBlock) {
  if (count >= kBlock) return make_block<T>([&](int p) { return load(source + p * kLanes<T>); });
  T padded[kBlock] = {};
  std::memcpy(static_cast<void*>(padded), source, count * sizeof(T));
  return make_block<T>([&](int p) { return load(padded + p * kLanes<T>); });
}

template <class T>
inline void store_block(T* target, const Block<T>& b, int64_t count = kBlock) {
  T padded[kBlock];
  T* out = count >= kBlock ? target : padded;
  for (int p = 0; p < Block<T>::kParts; ++p) store(out + p * kLanes<T>, b.v[p]);
  if (count < kBlock) std::memcpy(static_cast<void*>(target), padded, count * sizeof(T));
}

// Block<T> of numbers stored in T's arithmetic type: coefficients and sums.
template <class T>
inline Block<T> load_scalars(const Scalar<T>* source) {
  return make_block<T>([&](int p) { return load(source + p * kLanes<T>); });
}
template <class T>
inline void store_scalars(Scalar<T>* target, const Block<T>& b) {
  for (int p = 0; p < Block<T>::kParts; ++p) store(target + p * kLanes<T>, b.v[p]);
}

template <class T>
inline Scalar<T> sum_lanes(const Block<T>& b) {
  Scalar<T> sum = 0;
  for (int i = 0; i < kBlock; ++i) sum += b.v[i / kLanes<T>][i % kLanes<T>];
  return sum;
}

// Bit i: not (element i <= 0), so that NaN counts as positive, as in torch's gradient of ReLU.
inline unsigned positive_bits(VecF v) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NLE_UQ);
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_setzero_ps(), _CMP_NLE_UQ));
#else
  unsigned bits = 0;
  for (int i = 0; i < kLanes<float>; ++i) bits |= static_cast<unsigned>(!(v[i] <= 0)) << i;
  return bits;
#endif
}
inline unsigned positive_bits(VecD v) {
  unsigned bits = 0;
  for (int i = 0; i < kLanes<double>; ++i) bits |= static_cast<unsigned>(!(v[i] <= 0)) << i;
  return bits;
}

// Element i where bit i is set, else 0.
inline VecF keep(VecF v, unsigned bits) {
#if defined(__AVX512F__)
  return (VecF)_mm512_maskz_mov_ps(static_cast<__mmask16>(bits), (__m512)v);
#else
  VecU lane_bit;
  for (int i = 0; i < kLanes<float>; ++i) lane_bit[i] = 1u << i;
  return bit_cast<VecF>(bit_cast<VecU>(v) & ((lane_bit & bits) == lane_bit));
#endif
}
inline VecD keep(VecD v, unsigned bits) {
  for (int i = 0; i < kLanes<double>; ++i)
    if (!(bits >> i & 1)) v[i] = 0;
  return v;
}

template <class T>
inline uint16_t positive_bits(const Block<T>& b) {
  unsigned bits = 0;
  for (int p = 0; p < Block<T>::kParts; ++p) bits |= positive_bits(b.v[p]) << (p * kLanes<T>);
  return static_cast<uint16_t>(bits);
}

template <class T>
inline Block<T> keep(const Block<T>& b, uint16_t bits) {
  return make_block<T>([&](int p) { return keep(b.v[p], bits >> (p * kLanes<T>)); });
}

// The bits of a block's first `count` elements.
inline uint16_t first_bits(int64_t count) {
  return static_cast<uint16_t>(count >= kBlock ? 0xffff : (1u << count) - 1);
}

// max(v, 0), with NaN left NaN.
template <class T>
inline Block<T> relu(const Block<T>& b) {
  return make_block<T>([&](int p) { return b.v[p] < 0 ? Vec<T>{} : b.v[p]; });
}

}  // namespace hgfast::cpu::HGFAST_ISA
