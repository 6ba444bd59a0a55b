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

// NCHW, one map: kBatch packs of kWidth values are in flight in each thread.
template <class T, int kWidth>
HG_DEV void scan_run(const MapReader<T, 1>& maps, Peak& best) {
  constexpr int kBatch = 4;
  const int size = maps.w * maps.h, step = kDecodeThreads * kWidth;
  for (int begin = threadIdx.x * kWidth; begin < size; begin += kBatch * step) {
    float v[kBatch][kWidth];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int i = begin + b * step;
      if (i < size) maps.template read_run<kWidth>(i % maps.w, i / maps.w, v[b]);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
#pragma unroll
      for (int j = 0; j < kWidth; ++j)
        if (begin + b * step < size) best.offer(v[b][j], begin + b * step + j);
  }
}

// NHWC, kChannels maps.
template <class T, int kChannels, bool kPacked>
HG_DEV void scan_pixels(const MapReader<T, kChannels>& maps, Peak (&best)[kChannels]) {
  constexpr int kBatch = 4;
  const int size = maps.w * maps.h;
  for (int begin = threadIdx.x; begin < size; begin += kBatch * kDecodeThreads) {
    float v[kBatch][kChannels];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int i = begin + b * kDecodeThreads;
      if (i < size) maps.template read_pixel<kPacked>(i % maps.w, i / maps.w, v[b]);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
        if (begin + b * kDecodeThreads < size) best[c].offer(v[b][c], begin + b * kDecodeThreads);
  }
}

}  // namespace hgfast::cuda
