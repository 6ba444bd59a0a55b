// out = (heatmaps + mirrored partner) / 2.
//
// Tiling: a grid-stride loop; a thread takes kWidth values that lie together (16 bytes), of a row of an NCHW map, or of
// all channels of a row of NHWC; single values where rows are no whole packs. Their partners are a pack as well in
// NCHW, and lie in L1 one by one in NHWC. Bytes: two reads and one write of the maps. FLOPs: 2 a value. Bound by DRAM
// bandwidth. Limits: float32 and halves. Status: compiled and run under the host emulator; not yet run on a GPU.
#pragma once

#include "common/heatmaps.h"
#include "cuda/cells.cuh"

namespace hgfast::cuda {

// Rows of values as they lie in memory: of NCHW one of a map, of NHWC one of an image.
template <class Index>
struct FlipRows {
  Index total, run;  // total: packs; run: values of a row
  int w, h, k;
  Divisor<Index> by_pack, by_row, by_channel;
  FlippedMaps flipped;

  FlipRows(const HeatmapShape& s, const FlippedMaps& flipped, int width)
      : total(static_cast<Index>(s.maps() * s.h * s.w / width)),
        run(static_cast<Index>(s.layout == Layout::kNHWC ? s.w * s.k : s.w)),
        w(static_cast<int>(s.w)),
        h(static_cast<int>(s.h)),
        k(static_cast<int>(s.k)),
        by_pack(run / width),
        by_row(s.h),
        by_channel(s.k),
        flipped(flipped) {}

  // FlippedMaps::column without a branch.
  HG_DEV int column(int x) const { return min(w - 1 - x + flipped.shift, w - 1); }
  HG_DEV Index pixel(int x) const { return static_cast<Index>(column(x)) * k; }
};

// NCHW: the partner's values for columns x to x + kWidth - 1; b is the row's begin.
template <class T, int kWidth, class Index>
HG_DEV void read_mirrored_run(const FlipRows<Index>& rows, const T* b, int x, float (&out)[kWidth]) {
  // backwards these are columns w - 1 - x, w - 2 - x, ...; the shift moves them on by one and needs one value more
  const Pack<T, kWidth> pack = *reinterpret_cast<const Pack<T, kWidth>*>(b + (rows.w - x - kWidth));
  float next = to_float(b[rows.column(x)]);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    const float plain = to_float(pack.v[kWidth - 1 - j]);
    out[j] = rows.flipped.shift != 0 ? next : plain;
    next = plain;
  }
}

// NHWC: the partners' values for those from place `first` of a row on, one by one; b is the row's begin.
template <class T, int kWidth, class Index>
HG_DEV void read_partners(const FlipRows<Index>& rows, const T* b, Index first, float (&out)[kWidth]) {
  int x = static_cast<int>(rows.by_channel.quotient(first));
  int channel = static_cast<int>(first - x * rows.by_channel.divisor);
  Index pixel = rows.pixel(x);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    out[j] = to_float(b[pixel + rows.flipped.partner[channel]]);
    if (++channel < rows.k) continue;
    channel = 0, pixel = rows.pixel(++x);
  }
}

template <class T, int kWidth, bool kNHWC, class Index>
__global__ void __launch_bounds__(kThreads)
    flip_merge_kernel(const T* __restrict__ maps, T* __restrict__ out, const __grid_constant__ FlipRows<Index> rows) {
  using P = Pack<T, kWidth>;
  const T* flipped = static_cast<const T*>(rows.flipped.maps);
  for_each_item(rows.total, [&](Index i) {
    const P pack = reinterpret_cast<const P*>(maps)[i];
    const Index row = rows.by_pack.quotient(i);
    const Index first = (i - row * rows.by_pack.divisor) * kWidth;
    float partners[kWidth];
    if constexpr (kNHWC) {
      read_partners<T>(rows, flipped + int64_t{row} * rows.run, first, partners);
    } else {
      const Index map = rows.by_row.quotient(row);
      const int channel = static_cast<int>(map - rows.by_channel.quotient(map) * rows.by_channel.divisor);
      const Index source = row + (rows.flipped.partner[channel] - channel) * Index{rows.h};
      read_mirrored_run<T>(rows, flipped + int64_t{source} * rows.run, static_cast<int>(first), partners);
    }
    Numbers<T, kWidth> mean(pack);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) mean.v[j] = (mean.v[j] + partners[j]) * 0.5f;
    reinterpret_cast<P*>(out)[i] = mean.rounded();
  });
}

template <class T>
void launch_flip_merge(const FlipMerge& p, Exec stream) {
  const HeatmapShape& s = p.shape;
  const int64_t run = s.layout == Layout::kNHWC ? s.w * s.k : s.w;
  with_access<T>(can_pack<T>(run, p.heatmaps, p.flipped.maps, p.out), s.maps() * s.h * s.w, [&](auto access) {
    using A = decltype(access);
    const FlipRows<typename A::Index> rows(s, p.flipped, A::kWidth);
    const auto run_kernel = [&](auto kernel) {
      launch(kernel, grid_for(rows.total), dim3(kThreads), 0, stream, static_cast<const T*>(p.heatmaps),
             static_cast<T*>(p.out), rows);
    };
    if (s.layout == Layout::kNHWC)
      run_kernel(flip_merge_kernel<T, A::kWidth, true, typename A::Index>);
    else
      run_kernel(flip_merge_kernel<T, A::kWidth, false, typename A::Index>);
  });
}

}  // namespace hgfast::cuda
