// The bytes of a CUtensorMap as this driver writes them, and the tensor maps' meaning.
#pragma once

#include <array>
#include <cstdint>

#include "machine.h"

namespace hgfast::ptx {

struct TensorMap {
  uint32_t magic;
  uint8_t im2col, rank, element_bytes;
  uint8_t swizzle;  // log2 of the span in 16-byte units: 1, 2, 3 for 32, 64, 128 bytes; 0: none
  uint64_t base;
  uint64_t strides[4];  // in bytes, of dimensions 1..
  uint32_t sizes[5];
  uint16_t box[5];  // of tiled maps
  uint8_t steps[5];
  int8_t lower[3], upper[3];  // corners of im2col maps
  uint8_t unused;
  uint16_t channels, pixels;  // of im2col maps
  uint32_t check;             // of all bytes before

  uint32_t span() const { return swizzle ? 16u << swizzle : 0; }
  uint32_t row_elements() const { return im2col ? channels : box[0]; }
  uint32_t checksum() const;
};
static_assert(sizeof(TensorMap) <= 128);
constexpr uint32_t kTensorMapMagic = 0x70a97e45;

// The map at an address that a lane gives. Throws Error where there is none.
TensorMap read_tensor_map(const Warp& w, int lane, uint64_t address);

}  // namespace hgfast::ptx
