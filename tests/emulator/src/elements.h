// The values of packed operand registers.
#pragma once

#include <cstdint>
#include <cstring>

#include "emulator/ptx_matrix.h"

namespace hgfast::emu {

inline float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float half_value(uint16_t bits) {
#ifdef __F16C__
  _Float16 value;
  std::memcpy(&value, &bits, sizeof value);
  return static_cast<float>(value);
#else
  __half_raw raw;
  raw.x = bits;
  return __half2float(__half(raw));
#endif
}

template <Element kType>
float value_of(uint16_t bits) {
  return kType == Element::kHalf ? half_value(bits) : float_of_bits(uint32_t{bits} << 16);
}

// Element e of a register: two 16-bit ones, or one tf32 whose low 13 bits the tensor core does not look at.
template <Element kType>
float element_of(uint32_t bits, int e) {
  if constexpr (kType == Element::kTf32) return float_of_bits(bits & ~0x1fffu);
  return value_of<kType>(static_cast<uint16_t>(bits >> 16 * e));
}

}  // namespace hgfast::emu
