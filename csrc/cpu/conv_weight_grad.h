// The parts of the weight gradient: tiles into panels, panels into sums of products, sums into weights.
#pragma once

#include "cpu/conv_tiles.h"
#include "cpu/conv_weights.h"

namespace hgfast::cpu::HGFAST_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kOuterRows = 8;  // 32 vector registers
#else
constexpr int kOuterRows = 4;  // 16 vector registers
#endif

// m[row][0 .. kVecs vectors) += sum over tiles t of g[t][row] * v[t][..]: a tile is kConvLanes floats of g, and of each
// of v's blocks. 2 loads of v and 8 broadcasts for 16 FMAs. The sum is added to m at its end, so that rounding errors
// grow with the number of tiles of a call and not of the whole batch.
template <int kVecs>
inline void add_outer_products(const float* g, const float* v, int64_t v_block, int64_t tiles, float* m,
                               int64_t m_row) {
  VecF sum[kOuterRows][kVecs] = {};
#pragma GCC unroll 2
  for (int64_t t = 0; t < tiles; ++t, g += kConvLanes, v += kConvLanes) {
    VecF x[kVecs];
#pragma GCC unroll 2
    for (int j = 0; j < kVecs; ++j) x[j] = load(v + j * v_block);
#pragma GCC unroll 8
    for (int i = 0; i < kOuterRows; ++i) {
      const VecF y = g[i] - VecF{};
#pragma GCC unroll 2
      for (int j = 0; j < kVecs; ++j) sum[i][j] += y * x[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kOuterRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kVecs; ++j) {
      float* to = m + i * m_row + j * kConvLanes;
      store(to, load(to) + sum[i][j]);
    }
}

// taps[9]: the gradient of filters (k, c .. c + lanes).
inline void store_taps(const VecF* taps, const ConvWeightGrad& problem, int64_t k, int64_t c) {
  const ConvShape& s = problem.shape;
  float* weight_grad = problem.weight_grad;
  const int64_t lanes = std::min<int64_t>(kConvLanes, s.c - c);
  if (problem.weight_channels_last) {
    for (int tap = 0; tap < 9; ++tap) store_lanes(weight_grad + (k * 9 + tap) * s.c + c, taps[tap], lanes);
    return;
  }
  float* to = weight_grad + (k * s.c + c) * 9;
  if (lanes == kConvLanes) return Runs<9>::store_taps(taps, to);
  for (int first = 0; first < 9; first += kConvLanes) {
    const int width = std::min(kConvLanes, 9 - first);
    VecF rows[kConvLanes];
    for (int i = 0; i < kConvLanes; ++i) rows[i] = i < width ? taps[first + i] : VecF{};
    transpose(rows);
    // All but the last one write more than their part: the next one puts it right.
    for (int64_t i = 0; i + 1 < lanes; ++i)
      store_lanes(to + i * 9 + first, rows[i], 9 < kConvLanes ? kConvLanes : width);
    store_lanes(to + (lanes - 1) * 9 + first, rows[lanes - 1], width);
  }
}

// The Winograd domain: what is summed is the outer product of transformed tiles, for each of points^2 points.
template <class T>
struct WinogradGradient {
  static constexpr int kPoints = T::kPoints, kAll = kPoints * kPoints, kOut = T::kOut;
  using Input = WinogradTiles<T, float>;

  // Transforms the output gradients of tile `tile` into slot `slot` of a panel like V, of k channels.
  static void gather(const ConvWeightGrad& problem, const ConvLayout& layout, int64_t tile, int64_t slot,
                     float* panel) {
    const ConvShape& s = problem.shape;
    const TilePosition at(layout, tile);
    const int64_t y0 = at.y * kOut, x0 = at.x * kOut;
    const float* image = problem.grad + at.image * s.p * s.q * s.k;
    float* to = panel + slot * kConvLanes;
    for (int64_t k = 0; k < s.k; k += kConvLanes, to += layout.v_block()) {
      VecF columns[kPoints][kOut];  // [point of the column transform][column]
      for (int j = 0; j < kOut; ++j) {
        VecF d[kOut], m[kPoints];
        for (int i = 0; i < kOut; ++i) {
          const bool inside = y0 + i < s.p && x0 + j < s.q;
          d[i] = inside ? load_lanes(image + ((y0 + i) * s.q + x0 + j) * s.k + k, s.k - k) : VecF{};
        }
        T::output_adjoint(d, m);
        for (int p = 0; p < kPoints; ++p) columns[p][j] = m[p];
      }
      for (int p = 0; p < kPoints; ++p) {
        VecF m[kPoints];
        T::output_adjoint(columns[p], m);
        for (int q = 0; q < kPoints; ++q) store(to + (p * kPoints + q) * layout.v_point(), m[q]);
      }
    }
  }

  // Sums of products of filters (k, c .. c + lanes), m[point] `step` floats apart, back into weights.
  static void finish(const ConvWeightGrad& problem, const float* m, int64_t step, int64_t k, int64_t c) {
    VecF rows[3][kPoints], taps[9];  // rows: [filter row][point of the row transform]
    for (int q = 0; q < kPoints; ++q) {
      VecF u[kPoints], g[3];
      for (int p = 0; p < kPoints; ++p) u[p] = load(m + (p * kPoints + q) * step);
      T::weight_adjoint(u, g);
      for (int i = 0; i < 3; ++i) rows[i][q] = g[i];
    }
    for (int i = 0; i < 3; ++i) T::weight_adjoint(rows[i], taps + 3 * i);
    store_taps(taps, problem, k, c);
  }
};

// The direct sum: tiles are pixels, rows of the input's panel are taps x channels.
struct DirectGradient {
  static constexpr int kAll = 1;
  using Input = DirectTiles<float, float>;

  static void gather(const ConvWeightGrad& problem, const ConvLayout& layout, int64_t tile, int64_t slot,
                     float* panel) {
    const int64_t k_count = problem.shape.k;
    const float* pixel = problem.grad + tile * k_count;
    float* to = panel + slot * kConvLanes;
    for (int64_t k = 0; k < k_count; k += kConvLanes, to += layout.v_block())
      store(to, load_lanes(pixel + k, k_count - k));
  }

  static void finish(const ConvWeightGrad& problem, const float* m, int64_t, int64_t k, int64_t row) {
    const ConvShape& s = problem.shape;
    const int64_t taps = s.kernel * s.kernel, rows = taps * s.c;
    float* to = problem.weight_grad + k * rows;
    if (problem.weight_channels_last || taps == 1) return store_lanes(to + row, load(m), rows - row);
    for (int64_t i = row; i < std::min(row + kConvLanes, rows); ++i) to[i % s.c * taps + i / s.c] = m[i - row];
  }
};

}  // namespace hgfast::cpu::HGFAST_ISA
