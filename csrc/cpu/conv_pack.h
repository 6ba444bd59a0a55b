// Weights into the layout that conv reads (conv_layout.h).
#pragma once

#include "cpu/conv_layout.h"
#include "cpu/conv_weights.h"

namespace hgfast::cpu::HGFAST_ISA {

// extra: (k, extra_c) or null. packed: layout.packed_floats() floats.
void pack_weights(const WeightView& weight, const float* extra, const ConvShape& shape, const ConvLayout& layout,
                  float* packed);

// The same for layouts of pairs.
void pack_pairs(const WeightView& weight, const float* extra, const ConvShape& shape, const ConvLayout& layout,
                float* packed);

}  // namespace hgfast::cpu::HGFAST_ISA
