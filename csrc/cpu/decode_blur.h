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

// sum of weight[d] * (line[-d * stride] + line[d * stride]) as vectors of columns
template <class R>
Vec<R> blur_taps(const R* line, int64_t stride, const BlurKernel& kernel) {
  Vec<R> sum = load(line) * R(kernel.weight[0]);
  for (int d = 1; d <= kernel.radius; ++d)
    sum += (load(line - d * stride) + load(line + d * stride)) * R(kernel.weight[d]);
  return sum;
}

// A plane with zeros around it, wide enough for blur_taps at every value and for a vector beyond the last one.
template <class R>
class Blur {
 public:
  explicit Blur(const BlurKernel& kernel) : kernel_(kernel) {}

  // out[j][i]: the blurred value at (x + i - 2, y + j - 2)
  void window(const R* plane, int w, int h, int x, int y, R (&out)[5][5]) {
    const int r = kernel_.radius, size = 5 + 2 * r;
    copy_padded(plane, w, h, x - 2 - r, y - 2 - r, size, size);
    const int64_t stride = stride_of(size);
    R row[kMaxRow] = {};
    for (int j = 0; j < 5; ++j) {
      const R* line = padded_.data() + (j + r) * stride;
      for (int c = 0; c < size; c += kStep) store(row + c, blur_taps(line + c, stride, kernel_));
      R sums[8 + kStep];
      for (int i = 0; i < 5; i += kStep) store(sums + i, blur_taps(row + r + i, 1, kernel_));
      for (int i = 0; i < 5; ++i) out[j][i] = sums[i];
    }
  }

  // Maximum over the blurred plane; NaN values are passed over.
  R maximum(const R* plane, int w, int h) {
    const int r = kernel_.radius;
    copy_padded(plane, w, h, -r, -r, w + 2 * r, h + 2 * r);
    const int64_t stride = stride_of(w + 2 * r);
    R* row = row_.zeros(stride + kStep);
    R best = -std::numeric_limits<R>::infinity();
    for (int y = 0; y < h; ++y) {
      const R* line = padded_.data() + (y + r) * stride;
      for (int c = 0; c < w + 2 * r; c += kStep) store(row + c, blur_taps(line + c, stride, kernel_));
      for (int x = 0; x < w; x += kStep) {
        R sums[kStep];
        store(sums, blur_taps(row + r + x, 1, kernel_));
        for (int i = 0; i < kStep && x + i < w; ++i) best = sums[i] > best ? sums[i] : best;
      }
    }
    return best;
  }

 private:
  static constexpr int kStep = kLanes<R>;
  static constexpr int kMaxRow = 5 + 2 * kMaxBlurRadius + 3 * kStep;

  static int64_t stride_of(int columns) { return (columns + kStep - 1) / kStep * kStep; }

  // Columns [left, left + columns) and rows [top, top + rows) of the plane, zeros where it has none.
  void copy_padded(const R* plane, int w, int h, int left, int top, int columns, int rows) {
    const int64_t stride = stride_of(columns);
    padded_.zeros(rows * stride + kStep);
    const int x0 = std::max(left, 0), x1 = std::min(left + columns, w);
    if (x0 >= x1) return;
    for (int y = std::max(top, 0); y < std::min(top + rows, h); ++y)
      std::memcpy(padded_.data() + (y - top) * stride + x0 - left, plane + int64_t{y} * w + x0, (x1 - x0) * sizeof(R));
  }

  const BlurKernel& kernel_;
  Buffer<R> padded_, row_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
