// ldmatrix and stmatrix (PTX ISA, "ldmatrix"): 8x8 matrices of 16-bit elements. Lanes 8k..8k+7 give the addresses of
// the rows of matrix k; register k of lane l holds elements 2(l % 4) and the next of row l / 4, or of column l / 4
// (.trans).
#include "addresses.h"
#include "decoder.h"
#include "families.h"

namespace hgfast::ptx {

namespace {

using Matrix = uint16_t[8][8];

uint8_t* row_at(const Warp& w, const Instruction& i, uint32_t matrix, uint32_t row) {
  const int lane = static_cast<int>(8 * matrix + row);
  const uint64_t address = w.address(i.a, i.narrow, i.offset, lane);
  if (address % 16) fail(w, lane, "the address of a matrix row, " + hex(address) + ", is not aligned to 16 bytes");
  return shared_at(w, lane, address, 16);
}

Step load(Warp& w, const Instruction& i) {
  ++stats.ldmatrix;
  uint32_t values[4][kLanes];
  for (uint32_t k = 0; k < i.list.size(); ++k) {
    Matrix m;
    for (uint32_t row = 0; row < 8; ++row) std::memcpy(m[row], row_at(w, i, k, row), 16);
    for (uint32_t l = 0; l < kLanes; ++l) {
      const uint32_t r = l / 4, c = 2 * (l % 4);
      values[k][l] = i.flags ? uint32_t{m[c + 1][r]} << 16 | m[c][r] : uint32_t{m[r][c + 1]} << 16 | m[r][c];
    }
  }
  for (uint32_t k = 0; k < i.list.size(); ++k) std::memcpy(w.at<uint32_t>(i.list[k]), values[k], sizeof values[k]);
  return Step::kNext;
}

Step store(Warp& w, const Instruction& i) {
  ++stats.stmatrix;
  for (uint32_t k = 0; k < i.list.size(); ++k) {
    Matrix m;
    for (uint32_t l = 0; l < kLanes; ++l) {
      const uint32_t r = l / 4, c = 2 * (l % 4), value = w.at<uint32_t>(i.list[k])[l];
      (i.flags ? m[c][r] : m[r][c]) = static_cast<uint16_t>(value);
      (i.flags ? m[c + 1][r] : m[r][c + 1]) = static_cast<uint16_t>(value >> 16);
    }
    for (uint32_t row = 0; row < 8; ++row) std::memcpy(row_at(w, i, k, row), m[row], 16);
  }
  return Step::kNext;
}

bool decode(Decoder& d, bool loads) {
  Instruction& i = *d.now;
  i.together = Together::kWarp;
  for (const Text& r : vector_elements(d.operand(loads ? 0 : 1)))
    i.list.push_back(loads ? d.destination(r, 4) : d.source(r, 4));
  d.set_address(loads ? 1 : 0);
  i.flags = d.has("trans");
  const size_t count = d.has("x4") ? 4 : d.has("x2") ? 2 : 1;
  return i.list.size() == count && d.has("m8n8") && (d.has("shared") || d.has("shared::cta"));
}

}  // namespace

Handler decode_ldmatrix(Decoder& d) { return decode(d, true) ? load : nullptr; }
Handler decode_stmatrix(Decoder& d) { return decode(d, false) ? store : nullptr; }

}  // namespace hgfast::ptx
