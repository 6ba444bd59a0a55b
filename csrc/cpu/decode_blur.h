// The Gaussian blur of DARK and UDP, only where it is needed: the 5x5 values around a maximum, and in rare cases the
// maximum of the whole blurred plane. Zeros lie around the plane. Both sum in the same order, columns first and pairs
// at equal distance together, so that symmetric maps give exactly symmetric values.
#pragma once

#include <algorithm>
#include <limits>

#include "common/decode_heatmaps.h"
#include "cpu/buffer.h"
#include "cpu/vecmath.h"

namespace hgfast::cpu::HGFAST_ISA {

// A plane with zeros around it, wide enough for blur_taps at every value and for a vector beyond the last one.
template <class R>
class Blur {
 public:
  explicit Blur(const BlurKernel& kernel) : kernel_(kernel) {}

  // out[j][i]: the blurred value at (x + i - 2, y + j - 2)
  void window(const R* plane, int w, int h, int x, int y, R (&out)[5][5]) {
    const int r = kernel_.radius, size = 5 + 2 * r, left = x - 2 - r, top = y - 2 - r;
    const R* lines = plane + int64_t{top} * w + left;
    int64_t stride = w;
    const bool inside = left >= 0 && top >= 0 && left + size <= w && top + size <= h;
    if (!inside || int64_t{top + size - 1} * w + left + stride_of(size) > int64_t{w} * h) {
      lines = copy_padded(plane, w, h, left, top, size, size);
      stride = stride_of(size);
    }
    // All columns before all rows, and the rows in quarters of a cache line: a load from within one recent store is
    // quick, one across two waits until they have reached the cache.
    R rows[5][kMaxRow];
    for (int j = 0; j < 5; ++j)
      for (int c = 0; c < size; c += kStep) store(rows[j] + c, blur_taps<V>(lines + (j + r) * stride + c, stride));
    for (int j = 0; j < 5; ++j) {
      store_vector(out[j], blur_taps<Quad>(rows[j] + r, 1));
      out[j][4] = blur_taps<R>(rows[j] + r + 4, 1);
    }
  }

  // Maximum over the blurred plane; NaN values are passed over.
  R maximum(const R* plane, int w, int h) {
    const int r = kernel_.radius;
    const R* padded = copy_padded(plane, w, h, -r, -r, w + 2 * r, h + 2 * r);
    const int64_t stride = stride_of(w + 2 * r);
    R* row = row_.zeros(stride + kStep);
    const V none = broadcast<V>(-std::numeric_limits<R>::infinity());
    V best = none;
    for (int y = 0; y < h; ++y) {
      const R* line = padded + (y + r) * stride;
      for (int c = 0; c < w + 2 * r; c += kStep) store(row + c, blur_taps<V>(line + c, stride));
      for (int x = 0; x < w; x += kStep) {
        V sums = blur_taps<V>(row + r + x, 1);
        for (int i = w - x; i < kStep; ++i) sums[i] = none[i];  // beyond the row's end
        best = max_of(sums, best);
      }
    }
    return max_lane(best);
  }

 private:
  using V = Vec<R>;
  typedef R Quad __attribute__((vector_size(4 * sizeof(R))));
  static constexpr int kStep = kLanes<R>;
  static constexpr int kMaxRow = 5 + 2 * kMaxBlurRadius + 3 * kStep;

  template <class Vector>
  static Vector load_vector(const R* p) {
    Vector v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  template <class Vector>
  static void store_vector(R* p, Vector v) {
    std::memcpy(p, &v, sizeof(v));
  }

  // sum of weight[d] * (line[-d * stride] + line[d * stride]), for as many columns as Vector has lanes
  template <class Vector>
  Vector blur_taps(const R* line, int64_t stride) const {
    Vector sum = load_vector<Vector>(line) * R(kernel_.weight[0]);
    for (int d = 1; d <= kernel_.radius; ++d)
      sum += (load_vector<Vector>(line - d * stride) + load_vector<Vector>(line + d * stride)) * R(kernel_.weight[d]);
    return sum;
  }

  static int64_t stride_of(int columns) { return (columns + kStep - 1) / kStep * kStep; }

  // Columns [left, left + columns) and rows [top, top + rows) of the plane, zeros where it has none.
  const R* copy_padded(const R* plane, int w, int h, int left, int top, int columns, int rows) {
    const int64_t stride = stride_of(columns);
    R* padded = padded_.zeros(rows * stride + kStep);
    const int x0 = std::max(left, 0), x1 = std::min(left + columns, w);
    if (x0 >= x1) return padded_.data();
    for (int y = std::max(top, 0); y < std::min(top + rows, h); ++y)
      std::memcpy(padded + (y - top) * stride + x0 - left, plane + int64_t{y} * w + x0, (x1 - x0) * sizeof(R));
    return padded;
  }

  const BlurKernel& kernel_;
  Buffer<R> padded_, row_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
