// One-dimensional minimal-filtering (Winograd, Toom-Cook) transforms for three taps; a convolution applies one to the
// rows and to the columns of its tiles.
//
// A transform takes kIn neighbouring inputs to kPoints values; there the filter is one multiplication per point; and
// it takes the kPoints products to kOut outputs. The gradient of the weights uses the same values: output_adjoint takes
// kOut output gradients to kPoints values, the products of these with the inputs' are summed over all tiles, and
// weight_adjoint takes those sums to the three taps. (Adjoint: the transposed matrix.) Multiplications for a kOut x
// kOut tile: kPoints^2 instead of 9 * kOut^2. Large points cost accuracy: F(6,3) loses about one digit against F(4,3).
//   F23, F43, F63   stride 1 (Lavin & Gray 2016): 2.25, 4 and 5.06 times fewer multiplications
//   S23, S43        stride 2: the even inputs meet taps 0 and 2, which is F(kOut, 2); the odd ones meet tap 1 only,
//   which
//                   needs no transform; 1.44 and 1.78 times fewer
#pragma once

#include "cpu/vec.h"

namespace hgfast::cpu::HGFAST_ISA {

struct F23 {  // points 0, 1, -1, infinity
  static constexpr int kIn = 4, kPoints = 4, kOut = 2, kStride = 1;
  static void input(const VecF* d, VecF* v) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  }
  static void output(const VecF* m, VecF* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
  static void weight(const VecF* g, VecF* u) {
    u[0] = g[0];
    u[1] = 0.5f * (g[0] + g[1] + g[2]);
    u[2] = 0.5f * (g[0] - g[1] + g[2]);
    u[3] = g[2];
  }
  static void output_adjoint(const VecF* y, VecF* m) {
    m[0] = y[0];
    m[1] = y[0] + y[1];
    m[2] = y[0] - y[1];
    m[3] = -y[1];
  }
  static void weight_adjoint(const VecF* u, VecF* g) {
    const VecF even = 0.5f * (u[1] + u[2]);
    g[0] = u[0] + even;
    g[1] = 0.5f * (u[1] - u[2]);
    g[2] = even + u[3];
  }
};

struct F43 {  // points 0, 1, -1, 2, -2, infinity
  static constexpr int kIn = 6, kPoints = 6, kOut = 4, kStride = 1;
  static void input(const VecF* d, VecF* v) {
    const VecF even1 = d[4] - 4 * d[2], odd1 = d[3] - 4 * d[1], even2 = d[4] - d[2], odd2 = d[3] - d[1];
    v[0] = 4 * d[0] + (d[4] - 5 * d[2]);
    v[1] = even1 + odd1;
    v[2] = even1 - odd1;
    v[3] = even2 + 2 * odd2;
    v[4] = even2 - 2 * odd2;
    v[5] = 4 * d[1] + (d[5] - 5 * d[3]);
  }
  static void output(const VecF* m, VecF* y) {
    const VecF even1 = m[1] + m[2], odd1 = m[1] - m[2], even2 = m[3] + m[4], odd2 = m[3] - m[4];
    y[0] = m[0] + (even1 + even2);
    y[1] = odd1 + 2 * odd2;
    y[2] = even1 + 4 * even2;
    y[3] = (odd1 + m[5]) + 8 * odd2;
  }
  static void weight(const VecF* g, VecF* u) {
    const VecF outer = g[0] + g[2], far = g[0] + 4 * g[2];
    u[0] = 0.25f * g[0];
    u[1] = (-1 / 6.f) * (outer + g[1]);
    u[2] = (-1 / 6.f) * (outer - g[1]);
    u[3] = (1 / 24.f) * (far + 2 * g[1]);
    u[4] = (1 / 24.f) * (far - 2 * g[1]);
    u[5] = g[2];
  }
  static void output_adjoint(const VecF* y, VecF* m) {
    const VecF even1 = y[0] + y[2], odd1 = y[1] + y[3], even2 = y[0] + 4 * y[2], odd2 = 2 * y[1] + 8 * y[3];
    m[0] = y[0];
    m[1] = even1 + odd1;
    m[2] = even1 - odd1;
    m[3] = even2 + odd2;
    m[4] = even2 - odd2;
    m[5] = y[3];
  }
  static void weight_adjoint(const VecF* u, VecF* g) {
    const VecF even1 = u[1] + u[2], odd1 = u[1] - u[2], even2 = u[3] + u[4], odd2 = u[3] - u[4];
    g[0] = 0.25f * u[0] + ((1 / 24.f) * even2 - (1 / 6.f) * even1);
    g[1] = (1 / 12.f) * odd2 - (1 / 6.f) * odd1;
    g[2] = u[5] + (1 / 6.f) * (even2 - even1);
  }
};

struct F63 {  // points 0, 1, -1, 2, -2, 1/2, -1/2, infinity
  static constexpr int kIn = 8, kPoints = 8, kOut = 6, kStride = 1;
  static void input(const VecF* d, VecF* v) {
    const VecF even1 = (d[2] + d[6]) - 4.25f * d[4], odd1 = (d[1] + d[5]) - 4.25f * d[3];
    const VecF even2 = (0.25f * d[2] + d[6]) - 1.25f * d[4], odd2 = (0.5f * d[1] + 2 * d[5]) - 2.5f * d[3];
    const VecF even3 = (4 * d[2] + d[6]) - 5 * d[4], odd3 = (2 * d[1] + 0.5f * d[5]) - 2.5f * d[3];
    v[0] = (d[0] - d[6]) + 5.25f * (d[4] - d[2]);
    v[1] = even1 + odd1;
    v[2] = even1 - odd1;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = even3 + odd3;
    v[6] = even3 - odd3;
    v[7] = (d[7] - d[1]) + 5.25f * (d[3] - d[5]);
  }
  static void output(const VecF* m, VecF* y) {
    const VecF even1 = m[1] + m[2], odd1 = m[1] - m[2], even2 = m[3] + m[4], odd2 = m[3] - m[4];
    const VecF even3 = m[5] + m[6], odd3 = m[5] - m[6];
    y[0] = (m[0] + even1) + (even2 + 32 * even3);
    y[1] = odd1 + (2 * odd2 + 16 * odd3);
    y[2] = even1 + (4 * even2 + 8 * even3);
    y[3] = odd1 + (8 * odd2 + 4 * odd3);
    y[4] = even1 + (16 * even2 + 2 * even3);
    y[5] = (odd1 + m[7]) + (32 * odd2 + odd3);
  }
  static void weight(const VecF* g, VecF* u) {
    const VecF outer = g[0] + g[2], far = g[0] + 4 * g[2], near = 4 * g[0] + g[2];
    u[0] = g[0];
    u[1] = (-2 / 9.f) * (outer + g[1]);
    u[2] = (-2 / 9.f) * (outer - g[1]);
    u[3] = (1 / 90.f) * (far + 2 * g[1]);
    u[4] = (1 / 90.f) * (far - 2 * g[1]);
    u[5] = (1 / 180.f) * (near + 2 * g[1]);
    u[6] = (1 / 180.f) * (near - 2 * g[1]);
    u[7] = g[2];
  }
};

struct S23 {  // even inputs: F(2,2) at points 0, 1, infinity; odd inputs: one tap
  static constexpr int kIn = 5, kPoints = 5, kOut = 2, kStride = 2;
  static void input(const VecF* d, VecF* v) {
    v[0] = d[0] - d[2];
    v[1] = d[2];
    v[2] = d[4] - d[2];
    v[3] = d[1];
    v[4] = d[3];
  }
  static void output(const VecF* m, VecF* y) {
    y[0] = m[0] + m[1] + m[3];
    y[1] = m[1] + m[2] + m[4];
  }
  static void weight(const VecF* g, VecF* u) {
    u[0] = g[0];
    u[1] = g[0] + g[2];
    u[2] = g[2];
    u[3] = u[4] = g[1];
  }
  static void output_adjoint(const VecF* y, VecF* m) {
    m[0] = m[3] = y[0];
    m[1] = y[0] + y[1];
    m[2] = m[4] = y[1];
  }
  static void weight_adjoint(const VecF* u, VecF* g) {
    g[0] = u[0] + u[1];
    g[1] = u[3] + u[4];
    g[2] = u[1] + u[2];
  }
};

struct S43 {  // even inputs: F(4,2) at points 0, 1, -1, 2, infinity; odd inputs: one tap
  static constexpr int kIn = 9, kPoints = 9, kOut = 4, kStride = 2;
  static void input(const VecF* d, VecF* v) {
    const VecF difference = d[6] - d[2];
    v[0] = 2 * (d[0] - d[4]) + difference;
    v[1] = (d[6] - d[4]) - 2 * d[2];
    v[2] = (d[6] + 2 * d[2]) - 3 * d[4];
    v[3] = difference;
    v[4] = (d[8] - d[4]) - 2 * difference;
    for (int i = 0; i < 4; ++i) v[5 + i] = d[1 + 2 * i];
  }
  static void output(const VecF* m, VecF* y) {
    const VecF even = m[1] + m[2], odd = m[1] - m[2];
    y[0] = (m[0] + even) + (m[3] + m[5]);
    y[1] = (odd + m[6]) + 2 * m[3];
    y[2] = (even + m[7]) + 4 * m[3];
    y[3] = (odd + m[4]) + (m[8] + 8 * m[3]);
  }
  static void weight(const VecF* g, VecF* u) {
    u[0] = 0.5f * g[0];
    u[1] = -0.5f * (g[0] + g[2]);
    u[2] = (-1 / 6.f) * (g[0] - g[2]);
    u[3] = (1 / 6.f) * (g[0] + 2 * g[2]);
    u[4] = g[2];
    for (int i = 0; i < 4; ++i) u[5 + i] = g[1];
  }
};

// u[point] of 3x3 filters.
template <class T>
void transform_filter(const VecF* filter, VecF* u) {
  constexpr int kPoints = T::kPoints;
  VecF rows[3][kPoints];  // [filter row][point of the row transform]
  for (int i = 0; i < 3; ++i) T::weight(filter + 3 * i, rows[i]);
  for (int q = 0; q < kPoints; ++q) {
    const VecF g[3] = {rows[0][q], rows[1][q], rows[2][q]};
    VecF column[kPoints];
    T::weight(g, column);
    for (int p = 0; p < kPoints; ++p) u[p * kPoints + q] = column[p];
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
