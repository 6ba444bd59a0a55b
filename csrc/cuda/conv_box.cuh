// How 128 result pixels form a tile of the wgmma convolution, and what one copy of the input brings.
#pragma once

#include "common/conv.h"
#include "cuda/compat.cuh"

namespace hgfast::cuda {

constexpr int kWgmmaTileM = 128;
constexpr int kWgmmaMaxRows = 160;  // of one input copy: a tile with one more line above and below

// A box of result pixels: 2^x_log2 columns, 2^y_log2 lines, 2^n_log2 images, together 128; row r of the tile is column
// r % 2^x_log2, and so on. `reuse`: a copy brings the lines above and below too and serves the three taps of a filter
// column. It needs lines of a multiple of 8 pixels (a tap is then a start address at a multiple of the swizzle's 1024
// bytes) and each half of 64 pixels inside one image.
struct PixelBox {
  int x_log2, y_log2, n_log2;
  int p, q, n;  // pixels to cover
  bool reuse;

  __host__ __device__ int columns() const { return 1 << x_log2; }
  __host__ __device__ int lines() const { return 1 << y_log2; }
  __host__ __device__ int images() const { return 1 << n_log2; }
  __host__ __device__ int tiles_x() const { return (q + columns() - 1) >> x_log2; }
  __host__ __device__ int tiles_y() const { return (p + lines() - 1) >> y_log2; }
  __host__ __device__ int tiles_n() const { return (n + images() - 1) >> n_log2; }
  __host__ __device__ int tiles() const { return tiles_x() * tiles_y() * tiles_n(); }
  // Rows of shared memory that a copy fills, and those between the tile's two halves of 64 pixels.
  __host__ __device__ int copied_lines() const { return lines() + (reuse ? 2 : 0); }
  __host__ __device__ int copied_rows() const { return columns() * copied_lines() * images(); }
  __host__ __device__ int half_rows() const {
    return images() == 2 && columns() * lines() == 64 ? columns() * copied_lines() : 64;
  }
  // Rows of a tile that follow each other in the list of all result pixels too, whatever the tile: whole lines do,
  // and whole images.
  __host__ __device__ int run() const {
    if (columns() != q) return columns();
    return lines() != p ? columns() * lines() : kWgmmaTileM;
  }
};

constexpr int kWgmmaLeastRun = 8;  // rows of 128 bytes between which the swizzle repeats: where a copy may begin

// The box with the fewest tiles, among them one that reuses if there is. Strided inputs are copied run by run.
inline PixelBox choose_box(const ConvShape& s) {
  const int n = static_cast<int>(s.n), p = static_cast<int>(s.p), q = static_cast<int>(s.q);
  if (s.kernel == 1 && s.stride == 1 && (s.extra_c == 0 || s.extra_stride == 1))
    return {7, 0, 0, 1, n * p * q, 1, false};  // pixels are a plain list
  const bool may_reuse = s.kernel == 3 && s.stride == 1,
             strided = s.stride > 1 || (s.extra_c > 0 && s.extra_stride > 1);
  PixelBox best{};
  for (int x = 7; x >= 0; --x)
    for (int y = 7 - x; y >= 0; --y) {
      PixelBox box{x, y, 7 - x - y, p, q, n, false};
      if (strided && box.run() < kWgmmaLeastRun) continue;
      const bool halves_fit = box.images() == 1 || (box.images() == 2 && x + y == 6);
      box.reuse = may_reuse && x >= 3 && halves_fit;
      if (box.copied_rows() > kWgmmaMaxRows) box.reuse = false;
      if (best.tiles() == 0 || box.tiles() < best.tiles() || (box.tiles() == best.tiles() && box.reuse > best.reuse))
        best = box;
    }
  return best;
}

}  // namespace hgfast::cuda
