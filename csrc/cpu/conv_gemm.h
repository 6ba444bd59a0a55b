// The one inner loop of all convolutions: sum[row][0 .. width) = sum over r of v[r][row] * u[r][0 .. width), handed in
// registers to a sink: PanelSink stores it, PixelSink (conv_epilogue.h) finishes output pixels.
//
// v, read by broadcasts, is a panel of gathered inputs or a piece of the image (conv_rows.h). u is a panel of packed
// weights, width (one or two vectors) per r, read once from end to end. Registers hold rows x width accumulators
// (AVX-512: 14 x 2, else 6 x 2): 2 loads of u and `rows` broadcasts for 2 * rows FMAs, so that the two FMA units and
// not the load ports are the limit from 4 rows up. The next block's rows of v are fetched meanwhile.
#pragma once

#include <algorithm>
#include <utility>

#include "cpu/conv_product.h"
#include "cpu/conv_rows.h"

namespace hgfast::cpu::HGFAST_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kGemmRows = 14;  // 32 vector registers
#else
constexpr int kGemmRows = 6;  // 16 vector registers
#endif
constexpr int kGemmVecs = 2;
constexpr int kGemmWidth = kGemmVecs * kConvLanes;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

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

  template <class Sum, int kRows, int kVecs>
  void take(Sum (&sum)[kRows][kVecs], int64_t row) const {
    float* to = m + row * kVecs * kConvLanes;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < kVecs; ++j) store(to + (i * kVecs + j) * kConvLanes, bit_cast<VecF>(sum[i][j]));
  }
};

template <class Product, int kRows, int kVecs, class Rows, class Sink>
void gemm_rows(const GemmArgs& args, const Rows& rows, const Sink& sink, int64_t row) {
  auto ahead = sink.ahead(row, kRows, args.blocks);
  typename Product::Sum sum[kRows][kVecs] = {};
  typename Rows::template Cursor<kRows> v(rows, row);
  const float* u = args.u;
  const float* next = args.prefetch;
  for (int64_t block = 0; block < args.blocks; ++block, v.advance()) {
    ahead.fetch();
    v.fetch();
#pragma GCC unroll 4
    for (int lane = 0; lane < Rows::kBlock; ++lane, u += kVecs * kConvLanes, next += args.prefetch_step) {
      v.fetch(lane);
      VecF weight[kVecs];
#pragma GCC unroll 2
      for (int j = 0; j < kVecs; ++j) {
        weight[j] = load(u + j * kConvLanes);
        __builtin_prefetch(next + j * kConvLanes, 0, 2);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const VecF x = Product::spread(v.at(i, lane));
#pragma GCC unroll 2
        for (int j = 0; j < kVecs; ++j) sum[i][j] = Product::add(sum[i][j], x, weight[j]);
      }
    }
  }
  sink.take(sum, row);
}

template <class Rows, class Sink>
using GemmRows = void (*)(const GemmArgs&, const Rows&, const Sink&, int64_t row);

template <class Product, int kVecs, class Rows, class Sink, std::size_t... kIndex>
constexpr GemmRows<Rows, Sink> pick_gemm(int64_t rows, std::index_sequence<kIndex...>) {
  constexpr GemmRows<Rows, Sink> table[] = {gemm_rows<Product, kIndex + 1, kVecs, Rows, Sink>...};
  return table[rows - 1];
}

// The first `count` rows of v times one panel of u: groups of rows of nearly equal size.
// next_u: the panel that will be asked for after this one, fetched into L2 meanwhile.
template <class Product, class Rows, class Sink>
inline void multiply_panel(const Rows& v, int64_t count, const float* u, int64_t blocks, int width, const Sink& sink,
                           const float* next_u) {
  const int64_t groups = ceil_div(count, kGemmRows);
  const int64_t step = groups == 1 ? width : width / groups, share = blocks * Rows::kBlock * step;
  for (int64_t group = 0, row = 0; group < groups; ++group) {
    const int64_t rows = groups == 1 ? count : count / groups + (group < count % groups);
    constexpr auto kAll = std::make_index_sequence<kGemmRows>();
    const auto gemm = width == kGemmWidth ? pick_gemm<Product, kGemmVecs, Rows, Sink>(rows, kAll)
                                          : pick_gemm<Product, 1, Rows, Sink>(rows, kAll);
    gemm({u, blocks, next_u + group * share, step}, v, sink, row);
    row += rows;
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
