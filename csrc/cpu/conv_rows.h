// What the GEMM's rows are: a panel of gathered inputs, or pixels of an image where they lie. A Cursor<kRows> stands at
// one block of kBlock elements of kRows rows; reading one of them is a broadcast from an address that costs no
// instruction.
#pragma once

#include "cpu/vec.h"

namespace hgfast::cpu::HGFAST_ISA {

constexpr int kConvLanes = kLanes<float>;

// v[block][row][lane]: every element at a constant distance from one pointer.
struct PanelRows {
  static constexpr int kBlock = kConvLanes;

  const float* v;
  int64_t block;  // floats from one block to the next

  template <int kRows>
  class Cursor {
   public:
    Cursor(const PanelRows& rows, int64_t row) : v_(rows.v + row * kConvLanes), block_(rows.block) {}

    [[gnu::always_inline]] float at(int row, int lane) const { return v_[row * kConvLanes + lane]; }
    // Of the next block, in L2 and far away: a row in each step.
    [[gnu::always_inline]] void fetch(int lane) const { __builtin_prefetch(v_ + block_ + lane * kConvLanes, 0, 3); }
    [[gnu::always_inline]] void fetch() const {}
    [[gnu::always_inline]] void advance() { v_ += block_; }

   private:
    const float* v_;
    int64_t block_;
  };
};

// Pixels at equal distances. One pointer for every three rows: the distance is an index register, used once or twice.
template <int kSize>
struct ImageRows {
  static constexpr int kBlock = kSize;

  const float* x;
  int64_t distance;  // floats from one row to the next
  int64_t block;     // floats from one block to the next

  template <int kRows>
  class Cursor {
   public:
    Cursor(const ImageRows& rows, int64_t row) : distance_(rows.distance), block_(rows.block) {
      for (int i = 0; i < kPointers; ++i) x_[i] = rows.x + (row + 3 * i) * distance_;
    }

    [[gnu::always_inline]] float at(int row, int lane) const { return x_[row / 3][row % 3 * distance_ + lane]; }
    [[gnu::always_inline]] void fetch(int) const {}
    [[gnu::always_inline]] void fetch() const {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) __builtin_prefetch(x_[i / 3] + i % 3 * distance_ + block_, 0, 3);
    }
    [[gnu::always_inline]] void advance() {
#pragma GCC unroll 16
      for (int i = 0; i < kPointers; ++i) x_[i] += block_;
    }

   private:
    static constexpr int kPointers = (kRows + 2) / 3;

    const float* x_[kPointers];
    int64_t distance_, block_;
  };
};

// Of a 1x1 convolution whose channels fill vectors.
using PointRows = ImageRows<kConvLanes>;

// Of a stem's output row: blocks are the rows of its 7x7 kernel, whose taps of 3 channels follow each other in an image
// that carries its border of zeros.
constexpr int kStemRow = 7 * 3;
using StemRows = ImageRows<kStemRow>;

}  // namespace hgfast::cpu::HGFAST_ISA
