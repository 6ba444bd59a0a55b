// out = (heatmaps + mirrored partner) / 2.
//
// Tiling: a grid-stride loop; a thread takes kWidth neighbouring columns of an NCHW row (16 bytes), or one value of
// NHWC. Bytes: two reads and one write of the maps. FLOPs: 2 a value. Bound by DRAM bandwidth. Limits: float32 and
// halves.
#pragma once

#include "cuda/heatmap_reader.cuh"

namespace hgfast::cuda {

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) flip_merge_kernel(HeatmapSource source, T* out) {
  const HeatmapShape& s = source.shape;
  const int w = static_cast<int>(s.w), h = static_cast<int>(s.h), k = static_cast<int>(s.k), packs = w / kWidth;
  const bool nhwc = s.layout == Layout::kNHWC;
  const int64_t total = s.n * k * h * packs;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    // in the order of memory: the channel is the last index of NHWC, the second one of NCHW
    const int64_t pixel = nhwc ? i / k : i, row = pixel / packs, map = row / h;
    const int x = static_cast<int>(pixel % packs) * kWidth, y = static_cast<int>(row % h);
    const int channel = static_cast<int>(nhwc ? i % k : map % k);
    const MapReader<T, 1> maps(source, nhwc ? map : map / k, channel);
    float mean[kWidth];
    if constexpr (kWidth == 1)
      mean[0] = maps.at(0, x, y);
    else
      maps.template read_run<kWidth>(x, y, mean);
    Pack<T, kWidth> result;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) result.v[j] = from_float<T>(mean[j]);
    reinterpret_cast<Pack<T, kWidth>*>(out)[i] = result;
  }
}

template <class T>
void launch_flip_merge(const FlipMerge& p, Exec stream) {
  const HeatmapSource source{p.shape, p.heatmaps, p.flipped, false};
  const int64_t values = p.shape.maps() * p.shape.h * p.shape.w;
  T* out = static_cast<T*>(p.out);
  if (p.shape.layout == Layout::kNCHW && can_pack<T>(p.shape.w, p.heatmaps, p.flipped.maps, p.out))
    launch(flip_merge_kernel<T, kPackWidth<T>>, grid_for(values / kPackWidth<T>), dim3(kThreads), 0, stream, source,
           out);
  else
    launch(flip_merge_kernel<T, 1>, grid_for(values), dim3(kThreads), 0, stream, source, out);
}

}  // namespace hgfast::cuda
