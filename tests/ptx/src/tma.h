// Boxes of the tensor memory accelerator: which elements of a tensor a copy moves, and where they lie in shared memory.
#pragma once

#include <vector>

#include "machine.h"
#include "tensor_map.h"

namespace hgfast::ptx {

// One copy as an instruction gives it.
struct BoxCopy {
  TensorMap map;
  bool im2col;
  std::vector<int32_t> corner;  // innermost dimension first
  std::vector<uint16_t> taps;   // im2col offsets
  Block* block;                 // whose shared memory
  uint32_t shared;              // where the box begins there

  uint32_t bytes() const;
};

// That map, instruction and shared address go together and that all of the box is inside the tensor's memory and the
// block's. Throws Error.
void check_box(const Warp& w, int lane, const BoxCopy& copy, bool writes);
void load_box(const BoxCopy& copy);
void store_box(const BoxCopy& copy);

}  // namespace hgfast::ptx
