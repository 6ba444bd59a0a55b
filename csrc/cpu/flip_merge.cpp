// out = (heatmaps + mirrored partner) / 2 on the CPU.
//
// A unit of work is one row of one map (NCHW) or one row of an image with all its channels (NHWC). Bytes: two reads and
// one write of the maps; arithmetic: 2 operations a value. Bound by memory.
#include "common/ops.h"
#include "cpu/parallel.h"
#include "cpu/types.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int64_t kBytesPerChunk = 128 * 1024;

template <class T>
void merge_row(const FlipMerge& p, int64_t row) {
  using R = typename Compute<T>::type;
  const auto [dtype, layout, n, k, h, w] = p.shape;
  const bool nhwc = layout == Layout::kNHWC;
  const int64_t pixel = p.shape.column_stride(), channels = nhwc ? k : 1;
  const T* a = static_cast<const T*>(p.heatmaps) + row * w * pixel;
  T* out = static_cast<T*>(p.out) + row * w * pixel;
  // The partner of an NCHW row lies in another map; of an NHWC row only the channels within each pixel change places.
  const int64_t map = nhwc ? 0 : row / h, channel = nhwc ? 0 : map % k;
  const int64_t partner_row = nhwc ? row : (map - channel + p.flipped.partner[channel]) * h + row % h;
  const T* b = static_cast<const T*>(p.flipped.maps) + partner_row * w * pixel;
  for (int64_t x = 0; x < w; ++x) {
    const T* mirror = b + FlippedMaps::column(x, w, p.flipped.shift) * pixel;
    for (int64_t c = 0; c < channels; ++c) {
      const auto other = to_float(mirror[nhwc ? p.flipped.partner[c] : 0]);
      store_scalar(out + x * pixel + c, (to_float(a[x * pixel + c]) + other) * R(0.5));
    }
  }
}

}  // namespace

void flip_merge(const FlipMerge& p, Exec exec) {
  dispatch(p.shape.dtype, "flip_merge", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t rows = p.shape.n * p.shape.h * (p.shape.layout == Layout::kNHWC ? 1 : p.shape.k);
    const int64_t row_bytes = std::max<int64_t>(1, p.shape.w * p.shape.column_stride() * sizeof(T));
    parallel_for(rows, kBytesPerChunk / row_bytes, exec, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) merge_row<T>(p, row);
    });
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
