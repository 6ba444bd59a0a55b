// The first maximum of each of a block's maps, found by all its threads together.
#pragma once

#include <climits>

#include "cuda/heatmap_reader.cuh"

namespace hgfast::cuda {

constexpr int kDecodeThreads = 128;
constexpr int kDecodeWarps = kDecodeThreads / 32;
constexpr unsigned kWholeWarp = 0xffffffffu;

// index INT_MAX: no number seen. NaN never wins; among equal values the first does.
struct Peak {
  float value;
  int index;

  HG_DEV void offer(float v, int i) {
    if (v > value || (v == value && i < index)) value = v, index = i;
  }
};

HG_DEV Peak no_peak() { return {-INFINITY, INT_MAX}; }

HG_DEV Peak warp_peak(Peak peak) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2) {
    const float value = __shfl_xor_sync(kWholeWarp, peak.value, bits);
    const int index = __shfl_xor_sync(kWholeWarp, peak.index, bits);
    peak.offer(value, index);
  }
  return peak;
}

// The best of all threads' peaks, in every thread.
HG_DEV Peak block_peak(Peak peak, Peak* warp_peaks) {
  peak = warp_peak(peak);
  __syncthreads();  // warp_peaks may still be read from an earlier call
  if (threadIdx.x % 32 == 0) warp_peaks[threadIdx.x / 32] = peak;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kDecodeWarps; ++warp) peak.offer(warp_peaks[warp].value, warp_peaks[warp].index);
  return peak;
}

// read(i, v) for the kValues values at every kStride-th place i below `size`, kBatch reads in flight in each thread;
// then offer(i, j, v[j]) for each of them.
template <int kValues, int kStride, class Read, class Offer>
HG_DEV void scan(int size, const Read& read, const Offer& offer) {
  constexpr int kBatch = 4, kStep = kDecodeThreads * kStride;
  for (int begin = threadIdx.x * kStride; begin < size; begin += kBatch * kStep) {
    float v[kBatch][kValues];
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
      if (begin + b * kStep < size) read(begin + b * kStep, v[b]);
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
#pragma unroll
      for (int j = 0; j < kValues; ++j)
        if (begin + b * kStep < size) offer(begin + b * kStep, j, v[b][j]);
  }
}

// NCHW, one map, kWidth values at a time.
template <class T, int kWidth>
HG_DEV void scan_run(const MapReader<T, 1>& maps, Peak& best) {
  scan<kWidth, kWidth>(
      maps.w * maps.h, [&](int i, float (&v)[kWidth]) { maps.template read_run<kWidth>(i % maps.w, i / maps.w, v); },
      [&](int i, int j, float v) { best.offer(v, i + j); });
}

// NHWC, kChannels maps, one pixel at a time.
template <class T, int kChannels, bool kPacked>
HG_DEV void scan_pixels(const MapReader<T, kChannels>& maps, Peak (&best)[kChannels]) {
  scan<kChannels, 1>(
      maps.w * maps.h,
      [&](int i, float (&v)[kChannels]) { maps.template read_pixel<kPacked>(i % maps.w, i / maps.w, v); },
      [&](int i, int channel, float v) { best[channel].offer(v, i); });
}

}  // namespace hgfast::cuda
