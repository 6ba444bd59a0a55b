// The product itself: 64 x n sums of 16 (tf32: 8) terms, operands in shared memory by their descriptors (PTX ISA,
// "Shared Memory Matrix Layout", "Matrix Descriptor Format", "Register Fragments").
#include "addresses.h"
#include "half.h"
#include "wgmma.h"

namespace hgfast::ptx {

namespace {

using namespace wgmma_flag;

// Addresses of 16-byte units of an operand.
class Descriptor {
 public:
  Descriptor(const Warp& w, uint64_t bits)
      : start_(field(bits, 0)), leading_(field(bits, 16)), stride_(field(bits, 32)), mode_(bits >> 62) {
    if (bits >> 49 & 7) fail(w, "wgmma: a descriptor's base offset is not modelled");
  }

  // K-major: row r of M or N, unit c along K.
  uint32_t along_k(uint32_t r, uint32_t c) const {
    if (!mode_) return start_ + r % 8 * 16 + r / 8 * stride_ + c * leading_;
    return permuted(start_ + r % 8 * units() * 16 + r / 8 * stride_ + c * 16);
  }
  // MN-major: elements 8u.. of M or N, row k of K.
  uint32_t along_mn(uint32_t u, uint32_t k) const {
    if (!mode_) return start_ + u * stride_ + k % 8 * 16 + k / 8 * leading_;
    return permuted(start_ + u % units() * 16 + u / units() * leading_ + k % 8 * units() * 16 + k / 8 * stride_);
  }

 private:
  static uint32_t field(uint64_t bits, int at) { return static_cast<uint32_t>(bits >> at & 0x3fff) << 4; }
  // 16-byte units of a row: modes 1, 2, 3 are swizzles of 128, 64, 32 bytes.
  uint32_t units() const { return 16u >> mode_; }
  uint32_t permuted(uint32_t at) const { return at ^ (at >> 7 & (units() - 1)) << 4; }

  uint32_t start_, leading_, stride_;
  uint64_t mode_;
};

// A type's elements: how many are in 16 bytes, and their values.
template <class H>
struct Element16 {
  static constexpr uint32_t kUnit = 8, kDepth = 16;
  static void unpack(const uint8_t* unit, float* out) {
    uint16_t bits[8];
    std::memcpy(bits, unit, sizeof bits);
    for (int k = 0; k < 8; ++k) out[k] = H::value(bits[k]);
  }
};
struct ElementTf32 {
  static constexpr uint32_t kUnit = 4, kDepth = 8;
  static void unpack(const uint8_t* unit, float* out) {
    uint32_t bits[4];
    std::memcpy(bits, unit, sizeof bits);
    for (int k = 0; k < 4; ++k) out[k] = tf32_value(bits[k]);
  }
};

struct Operands {
  float a[kWgmmaRows][kWgmmaDepth], b[kWgmmaDepth][kWgmmaColumns];
};

const uint8_t* unit_at(const Warp& w, uint32_t address) { return shared_at(w, -1, address, 16); }

// Register r of lane l of each warp, as the fragments of mma.
template <class E>
void read_a_registers(Warp* const (&group)[kWarpgroup], const Instruction& i, Operands& to) {
  constexpr uint32_t kElements = E::kUnit / 4;  // of a register
  for (uint32_t q = 0; q < kWarpgroup; ++q)
    for (uint32_t r = 0; r < 4; ++r) {
      const uint32_t* const words = group[q]->at<uint32_t>(i.list[i.n / 2 + r]);
      for (uint32_t l = 0; l < kLanes; ++l) {
        float values[E::kUnit];
        uint32_t unit[4] = {words[l]};
        E::unpack(reinterpret_cast<const uint8_t*>(unit), values);
        for (uint32_t e = 0; e < kElements; ++e)
          to.a[16 * q + l / 4 + 8 * (r % 2)][kElements * (l % 4 + 4 * (r / 2)) + e] = values[e];
      }
    }
}

template <class E>
void read_a(Warp* const (&group)[kWarpgroup], const Product& p, Operands& to) {
  const Instruction& i = *p.instruction;
  if (i.flags & kARegisters) return read_a_registers<E>(group, i, to);
  const Warp& w = *group[0];
  const Descriptor a(w, p.a);
  float values[E::kUnit];
  if (i.flags & kTransposeA) {
    for (uint32_t k = 0; k < E::kDepth; ++k)
      for (uint32_t u = 0; u < kWgmmaRows / 8; ++u) {
        E::unpack(unit_at(w, a.along_mn(u, k)), values);
        for (uint32_t e = 0; e < E::kUnit; ++e) to.a[8 * u + e][k] = values[e];
      }
    return;
  }
  for (uint32_t row = 0; row < kWgmmaRows; ++row)
    for (uint32_t c = 0; c < 2; ++c) E::unpack(unit_at(w, a.along_k(row, c)), &to.a[row][E::kUnit * c]);
}

template <class E>
void read_b(const Warp& w, const Product& p, Operands& to) {
  const Instruction& i = *p.instruction;
  const Descriptor b(w, p.b);
  float values[E::kUnit];
  if (i.flags & kTransposeB) {
    for (uint32_t k = 0; k < E::kDepth; ++k)
      for (uint32_t u = 0; u < i.n / 8; ++u) {
        E::unpack(unit_at(w, b.along_mn(u, k)), values);
        for (uint32_t e = 0; e < E::kUnit; ++e) to.b[k][8 * u + e] = values[e];
      }
    return;
  }
  for (uint32_t column = 0; column < i.n; ++column)
    for (uint32_t c = 0; c < 2; ++c) {
      E::unpack(unit_at(w, b.along_k(column, c)), values);
      for (uint32_t e = 0; e < E::kUnit; ++e) to.b[E::kUnit * c + e][column] = values[e];
    }
}

// Calls f(sum, the accumulators' lanes) for rows of accumulators: register r of lane l is at row 8 (r / 2 % 2) + l / 4
// of the warp's 16, column 8 (r / 4) + 2 (l % 4) + r % 2.
template <class F>
void accumulators(Warp* const (&group)[kWarpgroup], const Instruction& i, float (*sums)[kWgmmaColumns], const F& f) {
  for (uint32_t q = 0; q < kWarpgroup; ++q)
    for (uint32_t r = 0; r < i.n / 2; ++r) {
      float* const lanes = group[q]->at<float>(i.list[r]);
      for (uint32_t l = 0; l < kLanes; ++l)
        f(sums[16 * q + 8 * (r / 2 % 2) + l / 4][8 * (r / 4) + 2 * (l % 4) + r % 2], lanes[l]);
    }
}

// Four terms at a time, so that the compiler keeps them in registers.
void multiply(const Operands& x, uint32_t depth, uint32_t n, float sign, float (*sums)[kWgmmaColumns]) {
  for (uint32_t row = 0; row < kWgmmaRows; ++row)
    for (uint32_t k = 0; k < depth; k += 4) {
      const float a0 = sign * x.a[row][k], a1 = sign * x.a[row][k + 1];
      const float a2 = sign * x.a[row][k + 2], a3 = sign * x.a[row][k + 3];
      const float *const b0 = x.b[k], *const b1 = x.b[k + 1], *const b2 = x.b[k + 2], *const b3 = x.b[k + 3];
      float* const d = sums[row];
      for (uint32_t c = 0; c < n; ++c) d[c] = (d[c] + a0 * b0[c]) + a1 * b1[c] + (a2 * b2[c] + a3 * b3[c]);
    }
}

template <class E>
void compute(Warp* const (&group)[kWarpgroup], const Product& p) {
  static Operands operands;
  static float sums[kWgmmaRows][kWgmmaColumns];
  const Instruction& i = *p.instruction;
  read_a<E>(group, p, operands);
  read_b<E>(*group[0], p, operands);
  accumulators(group, i, sums, [&](float& sum, float& d) { sum = p.accumulate ? d : 0.0f; });
  const bool negative = !(i.flags & kNegateA) != !(i.flags & kNegateB);
  multiply(operands, E::kDepth, i.n, negative ? -1.0f : 1.0f, sums);
  accumulators(group, i, sums, [](float& sum, float& d) { d = sum; });
}

}  // namespace

void compute_product(Warp* const (&group)[kWarpgroup], const Product& p) {
  switch (static_cast<WgmmaType>(p.instruction->offset)) {
    case WgmmaType::kHalf:
      return compute<Element16<Half>>(group, p);
    case WgmmaType::kBFloat16:
      return compute<Element16<BFloat16>>(group, p);
    case WgmmaType::kTf32:
      return compute<ElementTf32>(group, p);
  }
}

}  // namespace hgfast::ptx
