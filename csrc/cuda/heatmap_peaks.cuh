// The largest local maxima of each map.
//
// Tiling: a block of 128 threads a map. Each round finds the largest peak behind the one before it, over values that
// lie in L1 or L2 after the first: no list, no sorting, no shared copy of the map. Bytes: the maps once. FLOPs: count
// comparisons a value, and eight more for the few values that lead. Limits: float32 and halves.
#pragma once

#include "common/decode_refine.h"
#include "common/heatmap_peaks.h"
#include "cuda/decode_peak.cuh"

namespace hgfast::cuda {

template <class T>
__global__ void __launch_bounds__(kDecodeThreads, 8) heatmap_peaks_kernel(HeatmapSource source, HeatmapPeaks p) {
  HG_SHARED(Peak, warp_peaks, kDecodeWarps);
  const int64_t index = blockIdx.x;
  const MapReader<T, 1> maps(source, index / p.shape.k, static_cast<int>(index % p.shape.k));
  const auto at = [&](int x, int y) { return maps.at(0, x, y); };
  const int size = maps.w * maps.h;
  const float threshold = static_cast<float>(p.threshold);
  Peak last{INFINITY, -1};
  for (int64_t i = 0; i < p.count; ++i) {
    Peak best = no_peak();
    for (int j = threadIdx.x; j < size; j += kDecodeThreads) {
      const int x = j % maps.w, y = j / maps.w;
      const float v = at(x, y);
      const bool behind = v < last.value || (v == last.value && j > last.index);
      if (behind && v > threshold && v > best.value && is_local_maximum(at, x, y, maps.w, maps.h)) best.offer(v, j);
    }
    best = block_peak(best, warp_peaks);
    const bool found = best.index != INT_MAX;
    if (threadIdx.x == 0) {
      const int px = best.index % maps.w, py = best.index / maps.w;
      Offset step{-1.0 - px, -1.0 - py};
      if (found) step = plain_step(p.method, at, px, py, maps.w, maps.h);
      float* keypoint = static_cast<float*>(p.keypoints) + 2 * (index * p.count + i);
      keypoint[0] = static_cast<float>(px + step.x);
      keypoint[1] = static_cast<float>(py + step.y);
      static_cast<float*>(p.scores)[index * p.count + i] = found ? best.value : 0.0f;
    }
    last = found ? best : Peak{-INFINITY, INT_MAX};
  }
}

template <class T>
void launch_heatmap_peaks(const HeatmapPeaks& p, Exec stream) {
  const HeatmapSource source{p.shape, p.heatmaps, {}, false};
  launch(heatmap_peaks_kernel<T>, dim3(static_cast<unsigned>(p.shape.maps())), dim3(kDecodeThreads), 0, stream, source,
         p);
}

}  // namespace hgfast::cuda
