// ldmatrix, stmatrix and mma.sync: fragment layouts of the PTX ISA, float32 accumulation in the order of k.
#include <cstring>

#include "elements.h"
#include "emulator/ptx_matrix.h"
#include "engine.h"
#include "shared_shadow.h"

namespace hgfast::emu {

namespace {

using Row = std::array<uint16_t, 8>;

const MatrixArg& matrix_arg(void* const* args, int lane) { return *static_cast<MatrixArg*>(args[lane]); }

unsigned char* row_pointer(const MatrixArg& arg, int lane, bool write) {
  Block& block = *engine.block;
  const uint32_t address = arg.row_address;
  if (address % 16) fail("lane %d: row address 0x%x is not 16-byte aligned", lane, address);
  if (!block.shared.valid(address, 16))
    fail("lane %d: row outside every shared array: %s", lane, block.shared.describe(address).c_str());
  if (engine.checking) {
    const Lane& owner = block.lanes[engine.lane->warp * kWarpLanes + lane];
    block.shadow->note(block, {address, 16, write, owner.index, owner.call});
  }
  return block.shared.at(address);
}

// Eight rows should fall into the eight different 16-byte groups of the banks.
int bank_conflicts(void* const* args, int matrix) {
  uint32_t rows[8];
  int uses[8] = {}, worst = 0;
  for (int i = 0; i < 8; ++i) {
    rows[i] = matrix_arg(args, matrix * 8 + i).row_address;
    bool seen = false;
    for (int j = 0; j < i; ++j) seen |= rows[j] == rows[i];
    if (!seen) worst = std::max(worst, ++uses[rows[i] / 16 % 8]);
  }
  return worst - 1;
}

// Lane l holds elements (l / 4, 2 * (l % 4)) and the one to its right.
void distribute(const Row (&matrix)[8], void* const* args, int index, bool transpose) {
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const int row = lane / 4, column = lane % 4 * 2;
    const uint32_t low = transpose ? matrix[column][row] : matrix[row][column];
    const uint32_t high = transpose ? matrix[column + 1][row] : matrix[row][column + 1];
    matrix_arg(args, lane).registers[index] = low | high << 16;
  }
}

}  // namespace

void load_matrix(void* const* args, uint32_t) {
  const int count = matrix_arg(args, 0).count;
  const bool transpose = matrix_arg(args, 0).transpose;
  ++engine.stats.ldmatrix;
  Row rows[32];
  for (int lane = 0; lane < count * 8; ++lane)
    std::memcpy(rows[lane].data(), row_pointer(matrix_arg(args, lane), lane, false), sizeof(Row));
  for (int m = 0; m < count; ++m) {
    engine.stats.ldmatrix_conflicts += bank_conflicts(args, m);
    Row matrix[8];
    std::copy(rows + m * 8, rows + m * 8 + 8, matrix);
    distribute(matrix, args, m, transpose);
  }
}

void store_matrix(void* const* args, uint32_t) {
  const int count = matrix_arg(args, 0).count;
  ++engine.stats.stmatrix;
  for (int m = 0; m < count; ++m) {
    for (int row = 0; row < 8; ++row) {
      uint32_t words[4];
      for (int i = 0; i < 4; ++i) words[i] = matrix_arg(args, row * 4 + i).registers[m];
      std::memcpy(row_pointer(matrix_arg(args, m * 8 + row), m * 8 + row, true), words, sizeof words);
    }
  }
}

namespace {

constexpr int kM = 16, kN = 8;

// A and B of one mma as matrices. kK: 16 for 16-bit elements (two in a register), 8 for tf32.
template <Element kType, int kK>
void gather(void* const* args, float (&a)[kM][kK], float (&b)[kK][kN]) {
  constexpr int kPerRegister = kType == Element::kTf32 ? 1 : 2;
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const auto& arg = *static_cast<MmaArg*>(args[lane]);
    const int group = lane / 4, column = lane % 4 * kPerRegister;
    for (int e = 0; e < kPerRegister; ++e) {
      for (int r = 0; r < 4; ++r) a[group + r % 2 * 8][column + r / 2 * kK / 2 + e] = element_of<kType>(arg.a[r], e);
      for (int r = 0; r < 2; ++r) b[column + r * kK / 2 + e][group] = element_of<kType>(arg.b[r], e);
    }
  }
}

}  // namespace

template <Element kType>
void multiply(void* const* args, uint32_t) {
  constexpr int kK = kType == Element::kTf32 ? 8 : 16;
  ++engine.stats.mma;
  float a[kM][kK], b[kK][kN], d[kM][kN];
  gather<kType, kK>(args, a, b);
  for (int lane = 0; lane < kWarpLanes; ++lane)
    for (int r = 0; r < 4; ++r) d[lane / 4 + r / 2 * 8][lane % 4 * 2 + r % 2] = static_cast<MmaArg*>(args[lane])->d[r];
  for (int i = 0; i < kM; ++i)
    for (int k = 0; k < kK; ++k)
      for (int j = 0; j < kN; ++j) d[i][j] += a[i][k] * b[k][j];
  for (int lane = 0; lane < kWarpLanes; ++lane)
    for (int r = 0; r < 4; ++r) static_cast<MmaArg*>(args[lane])->d[r] = d[lane / 4 + r / 2 * 8][lane % 4 * 2 + r % 2];
}

template void multiply<Element::kHalf>(void* const*, uint32_t);
template void multiply<Element::kBFloat16>(void* const*, uint32_t);
template void multiply<Element::kTf32>(void* const*, uint32_t);

}  // namespace hgfast::emu
