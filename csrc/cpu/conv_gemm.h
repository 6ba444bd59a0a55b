// The one inner loop of all convolutions: sum[row][0 .. width) = sum over r of v[r][row] * u[r][0 .. width), handed in
// registers to a sink: PanelSink stores it, PixelSink (conv_epilogue.h) finishes output pixels.
//
// v is a panel of inputs, v[block][row][lane]: reduction index r = block * lanes + lane, so that every element of it is
// read by a broadcast at a constant distance from one pointer. u is a panel of packed weights, width (one or two
// vectors) per r, read once from end to end. Registers hold rows x width accumulators (AVX-512: 14 x 2, else 6 x 2): 2
// loads of u and `rows` broadcasts for 2 * rows FMAs, so that the two FMA units and not the load ports are the limit
// from 4 rows up. The next block's rows of v, in L2 and far apart, are fetched meanwhile, one in each step.
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

struct GemmArgs {
  const float* v;
  int64_t v_block;  // floats from one block of v to the next
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

template <int kRows, int kVecs, class Sink>
void gemm_rows(const GemmArgs& args, const Sink& sink, int64_t row) {
  auto ahead = sink.ahead(row, kRows, args.blocks);
  VecF sum[kRows][kVecs] = {};
  const float* v = args.v;
  const float* u = args.u;
  const float* next = args.prefetch;
  for (int64_t block = 0; block < args.blocks; ++block, v += args.v_block) {
    ahead.fetch();
#pragma GCC unroll 4
    for (int lane = 0; lane < kConvLanes; ++lane, u += kVecs * kConvLanes, next += args.prefetch_step) {
      __builtin_prefetch(v + args.v_block + lane * kConvLanes, 0, 3);
      VecF weight[kVecs];
#pragma GCC unroll 2
      for (int j = 0; j < kVecs; ++j) {
        weight[j] = load(u + j * kConvLanes);
        __builtin_prefetch(next + j * kConvLanes, 0, 2);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const VecF x = v[i * kConvLanes + lane] - VecF{};
#pragma GCC unroll 2
        for (int j = 0; j < kVecs; ++j) sum[i][j] += x * weight[j];
      }
    }
  }
  sink.take(sum, row);
}

template <class Sink>
using GemmRows = void (*)(const GemmArgs&, const Sink&, int64_t row);

template <int kVecs, class Sink, std::size_t... kIndex>
constexpr GemmRows<Sink> pick_gemm(int64_t rows, std::index_sequence<kIndex...>) {
  constexpr GemmRows<Sink> table[] = {gemm_rows<kIndex + 1, kVecs, Sink>...};
  return table[rows - 1];
}

// One panel of v (any number of rows) times one panel of u: groups of rows of nearly equal size.
// next_u: the panel that will be asked for after this one, fetched into L2 meanwhile.
template <class Sink>
inline void multiply_panel(const float* v, int64_t v_block, int64_t rows, const float* u, int64_t blocks, int width,
                           const Sink& sink, const float* next_u) {
  const int64_t groups = (rows + kGemmRows - 1) / kGemmRows;
  const int64_t step = width / groups, share = blocks * kConvLanes * step;
  for (int64_t group = 0, row = 0; group < groups; ++group) {
    const int64_t count = rows / groups + (group < rows % groups);
    constexpr auto kAll = std::make_index_sequence<kGemmRows>();
    const auto gemm = width == kGemmWidth ? pick_gemm<kGemmVecs, Sink>(count, kAll) : pick_gemm<1, Sink>(count, kAll);
    gemm({v + row * kConvLanes, v_block, u, blocks, next_u + group * share, step}, sink, row);
    row += count;
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
