// Codes (common/conv_int8.h) in vectors: numbers of 8 bits to float32 and back.
#pragma once

#include "common/conv_int8.h"
#include "cpu/conv_epilogue.h"

namespace hgfast::cpu::HGFAST_ISA {

typedef int32_t VecI __attribute__((vector_size(kVecBytes)));
typedef uint8_t VecB __attribute__((vector_size(kConvLanes)));

// Bytes and numbers of 4 bytes. (GCC 12 converts vectors of these one element at a time.)
inline VecF widened(VecB raw) {
#if defined(__AVX512F__)
  return (VecF)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32((__m128i)raw));
#else
  return __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(raw, VecU16), VecI), VecF);
#endif
}
inline VecB low_bytes(VecU v) {
#if defined(__AVX512F__)
  return (VecB)_mm512_cvtepi32_epi8((__m512i)v);
#else
  return __builtin_convertvector(__builtin_convertvector(v, VecU16), VecB);
#endif
}

// The first min(lanes, kConvLanes) codes, as float32.
inline VecF load_codes(const uint8_t* p, int64_t lanes) {
  VecB raw = {};
  std::memcpy(&raw, p, lanes >= kConvLanes ? kConvLanes : lanes);
  return widened(raw);
}

// Numbers as codes: to the nearest, ties to even, saturated; NaN is 0. A float of 1.5 * 2^23 and more has no digits
// behind the point, and the low byte of its bits is the integer that was added.
class Encoder {
 public:
  explicit Encoder(const Codes& codes) : factor_(1 / codes.scale), zero_(static_cast<float>(codes.zero)) {}

  VecB operator()(VecF v) const {
    constexpr float kRound = 3 << 22, kLargest = 255;
    v = v * factor_ + zero_;
    v = v > 0 ? v : VecF{};
    v = v < kLargest ? v : VecF{} + kLargest;
    return low_bytes(bit_cast<VecU>(v + kRound));
  }

 private:
  float factor_, zero_;
};

inline void store_codes(uint8_t* p, VecB codes, int64_t lanes = kConvLanes) {
  std::memcpy(p, &codes, lanes >= kConvLanes ? kConvLanes : lanes);
}

// What codes stand for.
class Decoder {
 public:
  explicit Decoder(const Codes& codes) : scale_(codes.scale), shift_(-codes.scale * static_cast<float>(codes.zero)) {}

  VecF operator()(VecF codes) const { return codes * scale_ + shift_; }

 private:
  float scale_, shift_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
