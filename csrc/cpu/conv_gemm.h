// The one inner loop of all convolutions: sum[row][0 .. width) = sum over r of v[r][row] * u[r][0 .. width), handed in
// registers to a sink: PanelSink stores it, PixelSink (conv_epilogue.h) finishes output pixels.
//
// v, read by broadcasts, is a panel of gathered inputs, v[block][row][lane] with reduction index r = block * lanes +
// lane (PanelRows), or the pixels of an image as they lie (ImageRows). u is a panel of packed weights, width (one or
// two vectors) per r, read once from end to end. Registers hold rows x width accumulators (AVX-512: 14 x 2, else 6 x
// 2): 2 loads of u and `rows` broadcasts for 2 * rows FMAs, so that the two FMA units and not the load ports are the
// limit from 4 rows up. The next block's rows of v, in L2 and far apart, are fetched meanwhile.
#pragma once

#include <algorithm>
#include <utility>

#include "cpu/vec.h"

namespace hgfast::cpu::HGFAST_ISA {

constexpr int kConvLanes = kLanes<float>;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kGemmRows = 14;  // 32 vector registers
#else
constexpr int kGemmRows = 6;  // 16 vector registers
#endif
constexpr int kGemmVecs = 2;
constexpr int kGemmWidth = kGemmVecs * kConvLanes;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows of a panel. A Cursor stands at one block of `kRows` of them.
struct PanelRows {
  const float* v;
  int64_t block;  // floats from one block to the next

  template <int kRows>
  class Cursor {
   public:
    Cursor(const PanelRows& rows, int64_t row) : v_(rows.v + row * kConvLanes), block_(rows.block) {}

    [[gnu::always_inline]] float at(int row, int lane) const { return v_[row * kConvLanes + lane]; }
    [[gnu::always_inline]] void fetch(int lane) const { __builtin_prefetch(v_ + block_ + lane * kConvLanes, 0, 3); }
    [[gnu::always_inline]] void fetch() const {}
    [[gnu::always_inline]] void advance() { v_ += block_; }

   private:
    const float* v_;
    int64_t block_;
  };
};

// Pixels of c channels, c a multiple of the lanes. One pointer for every three rows: with the distance of rows as an
// index, once or twice, an address costs no instruction.
struct ImageRows {
  const float* x;
  int64_t c;

  template <int kRows>
  class Cursor {
   public:
    Cursor(const ImageRows& rows, int64_t row) : c_(rows.c) {
      for (int i = 0; i < kPointers; ++i) x_[i] = rows.x + (row + 3 * i) * c_;
    }

    [[gnu::always_inline]] float at(int row, int lane) const { return x_[row / 3][row % 3 * c_ + lane]; }
    [[gnu::always_inline]] void fetch(int) const {}
    [[gnu::always_inline]] void fetch() const {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) __builtin_prefetch(x_[i / 3] + i % 3 * c_ + kConvLanes, 0, 3);
    }
    [[gnu::always_inline]] void advance() {
#pragma GCC unroll 16
      for (int i = 0; i < kPointers; ++i) x_[i] += kConvLanes;
    }

   private:
    static constexpr int kPointers = (kRows + 2) / 3;

    const float* x_[kPointers];
    int64_t c_;
  };
};

struct GemmArgs {
  const float* u;
  int64_t blocks;
  const float* prefetch;  // weights that are wanted next, spread over the calls of a panel
  int64_t prefetch_step;  // floats per r
};

// Row r's sums to m + r * width.
struct PanelSink {
  struct Ahead {
    void fetch() const {}
  };

  float* m;

  Ahead ahead(int64_t, int64_t, int64_t) const { return {}; }

  template <int kRows, int kVecs>
  void take(VecF (&sum)[kRows][kVecs], int64_t row) const {
    float* to = m + row * kVecs * kConvLanes;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < kVecs; ++j) store(to + (i * kVecs + j) * kConvLanes, sum[i][j]);
  }
};

template <int kRows, int kVecs, class Rows, class Sink>
void gemm_rows(const GemmArgs& args, const Rows& rows, const Sink& sink, int64_t row) {
  auto ahead = sink.ahead(row, kRows, args.blocks);
  VecF sum[kRows][kVecs] = {};
  typename Rows::template Cursor<kRows> v(rows, row);
  const float* u = args.u;
  const float* next = args.prefetch;
  for (int64_t block = 0; block < args.blocks; ++block, v.advance()) {
    ahead.fetch();
    v.fetch();
#pragma GCC unroll 4
    for (int lane = 0; lane < kConvLanes; ++lane, u += kVecs * kConvLanes, next += args.prefetch_step) {
      v.fetch(lane);
      VecF weight[kVecs];
#pragma GCC unroll 2
      for (int j = 0; j < kVecs; ++j) {
        weight[j] = load(u + j * kConvLanes);
        __builtin_prefetch(next + j * kConvLanes, 0, 2);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const VecF x = v.at(i, lane) - VecF{};
#pragma GCC unroll 2
        for (int j = 0; j < kVecs; ++j) sum[i][j] += x * weight[j];
      }
    }
  }
  sink.take(sum, row);
}

template <class Rows, class Sink>
using GemmRows = void (*)(const GemmArgs&, const Rows&, const Sink&, int64_t row);

template <int kVecs, class Rows, class Sink, std::size_t... kIndex>
constexpr GemmRows<Rows, Sink> pick_gemm(int64_t rows, std::index_sequence<kIndex...>) {
  constexpr GemmRows<Rows, Sink> table[] = {gemm_rows<kIndex + 1, kVecs, Rows, Sink>...};
  return table[rows - 1];
}

// The first `count` rows of v times one panel of u: groups of rows of nearly equal size.
// next_u: the panel that will be asked for after this one, fetched into L2 meanwhile.
template <class Rows, class Sink>
inline void multiply_panel(const Rows& v, int64_t count, const float* u, int64_t blocks, int width, const Sink& sink,
                           const float* next_u) {
  const int64_t groups = ceil_div(count, kGemmRows);
  const int64_t step = groups == 1 ? width : width / groups, share = blocks * kConvLanes * step;
  for (int64_t group = 0, row = 0; group < groups; ++group) {
    const int64_t rows = groups == 1 ? count : count / groups + (group < count % groups);
    constexpr auto kAll = std::make_index_sequence<kGemmRows>();
    const auto gemm =
        width == kGemmWidth ? pick_gemm<kGemmVecs, Rows, Sink>(rows, kAll) : pick_gemm<1, Rows, Sink>(rows, kAll);
    gemm({u, blocks, next_u + group * share, step}, v, sink, row);
    row += rows;
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
