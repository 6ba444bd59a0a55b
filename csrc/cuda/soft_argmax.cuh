// Soft-argmax and its gradient.
//
// Tiling: a block of 128 threads a map. The first pass finds the maximum (decode_peak.cuh), the second, over values
// that lie in L1 or L2 by then, sums weights and weighted positions relative to the maximum, or writes the gradient.
// Bytes: the maps once (backward: and one write). FLOPs: an expf and 6 a value. Limits: float32 and halves; NHWC maps
// are read value by value.
#pragma once

#include "common/soft_argmax.h"
#include "cuda/decode_peak.cuh"

namespace hgfast::cuda {

// exp((value - maximum) / temperature): 1 at the maximum, even an infinite one; 0 for NaN.
HG_DEV float softmax_weight(float value, float maximum, float inverse_temperature) {
  if (value == maximum) return 1.0f;
  return value == value ? expf((value - maximum) * inverse_temperature) : 0.0f;
}

// Sum over the block, in every thread, in a fixed order.
HG_DEV float block_total(float value, float* warp_sums) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(kWholeWarp, value, bits);
  __syncthreads();
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kDecodeWarps; ++warp) sum += warp_sums[warp];
  return sum;
}

// The map's maximum and what takes part around it, the same in all threads. A map of nothing but NaN: an empty window.
template <class T, int kWidth>
HG_DEV SoftWindow find_window(const MapReader<T, 1>& maps, int64_t window, Peak& peak, Peak* warp_peaks) {
  peak = no_peak();
  scan_run<T, kWidth>(maps, peak);
  peak = block_peak(peak, warp_peaks);
  if (peak.index == INT_MAX) return {0, 0, 0, 0};
  return soft_window(window, peak.index % maps.w, peak.index / maps.w, maps.w, maps.h);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kDecodeThreads) soft_argmax_kernel(HeatmapSource source, SoftArgmax p) {
  HG_SHARED(Peak, warp_peaks, kDecodeWarps);
  HG_SHARED(float, warp_sums, kDecodeWarps);
  const int64_t index = blockIdx.x;
  const MapReader<T, 1> maps(source, index / p.shape.k, static_cast<int>(index % p.shape.k));
  Peak peak;
  const SoftWindow s = find_window<T, kWidth>(maps, p.window, peak, warp_peaks);
  const int px = peak.index % maps.w, py = peak.index / maps.w, columns = s.x1 - s.x0;
  const float inverse_temperature = static_cast<float>(1 / p.temperature);
  float total = 0, sum_x = 0, sum_y = 0;
  for (int i = threadIdx.x; i < columns * (s.y1 - s.y0); i += kDecodeThreads) {
    const int x = s.x0 + i % columns, y = s.y0 + i / columns;
    const float weight = softmax_weight(maps.at(0, x, y), peak.value, inverse_temperature);
    total += weight;
    sum_x += weight * static_cast<float>(x - px);
    sum_y += weight * static_cast<float>(y - py);
  }
  total = block_total(total, warp_sums);
  sum_x = block_total(sum_x, warp_sums);
  sum_y = block_total(sum_y, warp_sums);
  if (threadIdx.x != 0) return;
  float* keypoint = static_cast<float*>(p.keypoints) + 2 * index;
  keypoint[0] = total > 0 ? static_cast<float>(px) + sum_x / total : -1.0f;
  keypoint[1] = total > 0 ? static_cast<float>(py) + sum_y / total : -1.0f;
  static_cast<float*>(p.scores)[index] = peak.index == INT_MAX ? nanf("") : peak.value;
  static_cast<float*>(p.totals)[index] = total;
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kDecodeThreads)
    soft_argmax_backward_kernel(HeatmapSource source, SoftArgmaxBackward p) {
  HG_SHARED(Peak, warp_peaks, kDecodeWarps);
  const int64_t index = blockIdx.x;
  const MapReader<T, 1> maps(source, index / p.shape.k, static_cast<int>(index % p.shape.k));
  Peak peak;
  const SoftWindow s = find_window<T, kWidth>(maps, p.window, peak, warp_peaks);
  const float inverse_temperature = static_cast<float>(1 / p.temperature);
  const float total = static_cast<const float*>(p.totals)[index];
  const float *keypoint = static_cast<const float*>(p.keypoints) + 2 * index,
              *slope = static_cast<const float*>(p.grad_keypoints) + 2 * index;
  const float at_x = keypoint[0], at_y = keypoint[1], slope_x = slope[0], slope_y = slope[1];
  const float scale = inverse_temperature / total, grad_score = static_cast<const float*>(p.grad_scores)[index];
  T* grad = static_cast<T*>(p.grad) + index * maps.w * maps.h;
  for (int i = threadIdx.x; i < maps.w * maps.h; i += kDecodeThreads) {
    const int x = i % maps.w, y = i / maps.w;
    float value = 0;
    if (x >= s.x0 && x < s.x1 && y >= s.y0 && y < s.y1) {
      const float weight = softmax_weight(maps.at(0, x, y), peak.value, inverse_temperature);
      const float turn = slope_x * (static_cast<float>(x) - at_x) + slope_y * (static_cast<float>(y) - at_y);
      value = weight * scale * turn;
    }
    if (i == peak.index) value += grad_score;
    grad[i] = from_float<T>(value);
  }
}

// Calls run(integral_constant<int, kWidth>) with the widest packs that a row of the maps allows.
template <class T, class F>
void with_row_packs(const HeatmapShape& shape, const void* maps, const F& run) {
  if (shape.layout == Layout::kNCHW && can_pack<T>(shape.w, maps))
    run(std::integral_constant<int, kPackWidth<T>>{});
  else
    run(std::integral_constant<int, 1>{});
}

template <class T>
void launch_soft_argmax(const SoftArgmax& p, Exec stream) {
  const HeatmapSource source{p.shape, p.heatmaps, {}, false};
  with_row_packs<T>(p.shape, p.heatmaps, [&](auto width) {
    launch(soft_argmax_kernel<T, width>, dim3(static_cast<unsigned>(p.shape.maps())), dim3(kDecodeThreads), 0, stream,
           source, p);
  });
}

template <class T>
void launch_soft_argmax_backward(const SoftArgmaxBackward& p, Exec stream) {
  const HeatmapSource source{p.shape, p.heatmaps, {}, false};
  with_row_packs<T>(p.shape, p.heatmaps, [&](auto width) {
    launch(soft_argmax_backward_kernel<T, width>, dim3(static_cast<unsigned>(p.shape.maps())), dim3(kDecodeThreads), 0,
           stream, source, p);
  });
}

}  // namespace hgfast::cuda
