// wgmma: what its instruction says, and its operands in shared memory.
#pragma once

#include "machine.h"

namespace hgfast::ptx {

enum class WgmmaType : uint8_t { kHalf, kBFloat16, kTf32 };

// Of an instruction: `n` columns, `flags`; list: n / 2 accumulators, then A's four registers if it is in registers;
// a, b: descriptors; c: the predicate that says whether to accumulate; offset: the type.
namespace wgmma_flag {
constexpr uint8_t kARegisters = 1, kNegateA = 2, kNegateB = 4, kTransposeA = 8, kTransposeB = 16;
}

constexpr uint32_t kWgmmaRows = 64, kWgmmaColumns = 256, kWgmmaDepth = 16;

// Computes a product that all four warps of the group have issued (wgmma_product.cpp).
void compute_product(Warp* const (&group)[kWarpgroup], const Product& product);

// Throws Error if the instruction touches registers that products in flight use.
void check_products_in_flight(const Warp& w, const Instruction& i);

}  // namespace hgfast::ptx
