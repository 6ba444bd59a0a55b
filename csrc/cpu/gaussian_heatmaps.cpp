// Target heatmaps on the CPU: per map the two axes of its Gaussian in float64, then row y = gx * gy[y], rounded once.
//
// Bytes: one write of the maps. Rows outside the patch are zero-filled; 3 exponentials an axis, 1 product a pixel.
#include <cstring>

#include "common/ops.h"
#include "cpu/gaussian_axis.h"
#include "cpu/parallel.h"
#include "cpu/types.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int kBlock = 256;  // pixels of an axis held on the stack at a time

template <class T>
void scale_row(const double* gx, double gy, T* out, int count) {
  for (int x = 0; x < count; ++x) {
    if constexpr (sizeof(T) == sizeof(double))
      out[x] = gx[x] * gy;
    else
      out[x] = from_float<T>(static_cast<float>(gx[x] * gy));
  }
}

// Columns [x0, x0 + count) of one map. The axes restart in each block: cheap, and the stack stays small.
template <class T>
void fill_columns(const GaussianHeatmaps& p, const GaussianPatch& patch, T* map, int x0, int count) {
  double gx[kBlock], gy[kBlock];
  const int low = std::max(patch.left - x0, 0), high = std::min(patch.right - x0, count);
  fill_gaussian_axis(gx, 1, count, low, high, patch.cx - x0, p.sigma);
  for (int y0 = 0; y0 < p.h; y0 += kBlock) {
    const int rows = std::min<int>(kBlock, static_cast<int>(p.h) - y0);
    const int top = std::max(patch.top - y0, 0), bottom = std::min(patch.bottom - y0, rows);
    fill_gaussian_axis(gy, 1, rows, top, bottom, patch.cy - y0, p.sigma);
    for (int y = 0; y < rows; ++y) {
      T* row = map + (y0 + y) * p.w + x0;
      if (y < top || y >= bottom)
        std::memset(static_cast<void*>(row), 0, count * sizeof(T));
      else
        scale_row(gx, gy[y], row, count);
    }
  }
}

template <class T>
void fill_map(const GaussianHeatmaps& p, int64_t map) {
  const float* at = p.keypoints + 2 * map;
  const int w = static_cast<int>(p.w), h = static_cast<int>(p.h);
  const GaussianPatch patch = gaussian_patch(p.kind, at[0], at[1], p.visible[map], p.sigma, w, h);
  p.weights[map] = patch.weight;
  T* out = static_cast<T*>(p.heatmaps) + map * p.h * p.w;
  for (int x0 = 0; x0 < w; x0 += kBlock) fill_columns(p, patch, out, x0, std::min(kBlock, w - x0));
}

}  // namespace

void gaussian_heatmaps(const GaussianHeatmaps& p, Exec exec) {
  dispatch(p.dtype, "gaussian_heatmaps", [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(p.n * p.k, 8, exec, [&](int64_t begin, int64_t end, int) {
      for (int64_t map = begin; map < end; ++map) fill_map<T>(p, map);
    });
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
