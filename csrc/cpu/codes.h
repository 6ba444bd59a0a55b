// Codes (common/conv_int8.h) in vectors: numbers of 8 bits to float32 and back.
#pragma once

#include "common/conv_int8.h"
#include "cpu/conv_epilogue.h"

namespace hgfast::cpu::HGFAST_ISA {

typedef int32_t VecI __attribute__((vector_size(kVecBytes)));
typedef uint8_t VecB __attribute__((vector_size(kConvLanes)));

// The first min(lanes, kConvLanes) codes, as float32.
inline VecF load_codes(const uint8_t* p, int64_t lanes) {
  VecB raw = {};
  std::memcpy(&raw, p, lanes >= kConvLanes ? kConvLanes : lanes);
  return __builtin_convertvector(__builtin_convertvector(raw, VecI), VecF);
}
inline VecF load_codes(const uint8_t* p) {
  VecB raw;
  std::memcpy(&raw, p, sizeof(raw));
  return __builtin_convertvector(__builtin_convertvector(raw, VecI), VecF);
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
    return __builtin_convertvector(bit_cast<VecU>(v + kRound), VecB);
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
