// The first maximum of each of a block's maps, found by all its threads together.
//
// Values are kept as they lie in memory until all of a batch are on their way: of half types eight loads of 16 bytes
// take no more registers than four of float32 values would.
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

// The best of all threads' peaks, in every thread; warp_peaks: one a warp.
template <int kBlock = kDecodeThreads>
HG_DEV Peak block_peak(Peak peak, Peak* warp_peaks) {
  peak = warp_peak(peak);
  __syncthreads();  // warp_peaks may still be read from an earlier call
  if (threadIdx.x % 32 == 0) warp_peaks[threadIdx.x / 32] = peak;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kBlock / 32; ++warp) peak.offer(warp_peaks[warp].value, warp_peaks[warp].index);
  return peak;
}

// offer(i, load(i)) for every kStride-th place i below `size`, kBatch loads on their way in each thread.
template <int kBlock, int kBatch, int kStride, class Load, class Offer>
HG_DEV void scan(int size, const Load& load, const Offer& offer) {
  constexpr int kStep = kBlock * kStride;
  for (int begin = threadIdx.x * kStride; begin < size; begin += kBatch * kStep) {
    decltype(load(0)) loaded[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
      if (begin + b * kStep < size) loaded[b] = load(begin + b * kStep);
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
      if (begin + b * kStep < size) offer(begin + b * kStep, loaded[b]);
  }
}

// One map, kWidth values at a time.
template <class T, int kWidth, int kBlock = kDecodeThreads>
HG_DEV void scan_run(const MapReader<T, 1>& maps, Peak& best) {
  const auto offer = [&](int i, const auto& values) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) best.offer(to_float(values.v[j]), i + j);
  };
  const int size = maps.w * maps.h;
  if (maps.averages())
    scan<kBlock, 4, kWidth>(size, [&](int i) { return maps.template mean_run<kWidth>(i); }, offer);
  else
    scan<kBlock, 4, kWidth>(size, [&](int i) { return maps.template run<kWidth>(i); }, offer);
}

// NHWC, kChannels maps, one pixel at a time.
template <class T, int kChannels, bool kPacked, int kBlock>
HG_DEV void scan_pixels(const MapReader<T, kChannels>& maps, Peak (&best)[kChannels]) {
  const auto offer = [&](int i, const auto& values) {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) best[c].offer(to_float(values.v[c]), i);
  };
  const int size = maps.w * maps.h;
  if (maps.averages())
    scan<kBlock, 4, 1>(size, [&](int i) { return maps.template mean_pixel<kPacked>(i); }, offer);
  else
    scan<kBlock, 8, 1>(size, [&](int i) { return maps.template pixel<kPacked>(i); }, offer);
}

}  // namespace hgfast::cuda
