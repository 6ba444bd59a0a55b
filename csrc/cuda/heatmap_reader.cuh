// Reads heatmaps value by value or pack by pack, averaged with their mirrored partners where there is a flip test.
#pragma once

#include "common/heatmaps.h"
#include "cuda/pack.cuh"

namespace hgfast::cuda {

// What all blocks know of the maps.
struct HeatmapSource {
  HeatmapShape shape;
  const void* maps;
  FlippedMaps flipped;
  bool clamps_at_one;
};

// kChannels maps of one image from `channel` on: 1 of NCHW, or a pack of neighbours of NHWC, whose values lie together.
template <class T, int kChannels>
class MapReader {
 public:
  int w, h;

  HG_DEV MapReader(const HeatmapSource& source, int64_t image, int channel)
      : w(static_cast<int>(source.shape.w)),
        h(static_cast<int>(source.shape.h)),
        flipped_(source.flipped),
        clamps_at_one_(source.clamps_at_one),
        channel_(channel),
        channels_(static_cast<int>(source.shape.k)),
        nhwc_(source.shape.layout == Layout::kNHWC) {
    const int64_t offset = image * source.shape.k * h * w;
    a_ = static_cast<const T*>(source.maps) + offset;
    b_ = static_cast<const T*>(flipped_.maps) + (flipped_.maps == nullptr ? 0 : offset);
  }

  // Map `channel` + c at (x, y).
  HG_DEV float at(int c, int x, int y) const {
    const float a = to_float(a_[offset(channel_ + c, x, y)]);
    return flipped_.maps == nullptr ? a : merge(a, mirrored(c, x, y));
  }

  HG_DEV bool averages() const { return flipped_.maps != nullptr; }

  // All kChannels maps at pixel i as they lie in memory; NaN for those that do not exist.
  template <bool kPacked>
  HG_DEV Pack<T, kChannels> pixel(int i) const {
    const T* from = a_ + int64_t{i} * channels_ + channel_;
    Pack<T, kChannels> pack;
    if constexpr (kPacked) {
      pack = *reinterpret_cast<const Pack<T, kChannels>*>(from);
    } else {
#pragma unroll
      for (int c = 0; c < kChannels; ++c) pack.v[c] = exists(c) ? from[c] : from_float<T>(nanf(""));
    }
    return pack;
  }

  // The same, averaged.
  template <bool kPacked>
  HG_DEV Pack<float, kChannels> mean_pixel(int i) const {
    const Pack<T, kChannels> a = pixel<kPacked>(i);
    const int x = i % w, y = i / w;
    Pack<float, kChannels> mean;
#pragma unroll
    for (int c = 0; c < kChannels; ++c)
      mean.v[c] = kPacked || exists(c) ? merge(to_float(a.v[c]), mirrored(c, x, y)) : nanf("");
    return mean;
  }

  // One map's kWidth values from pixel i on as they lie in memory; more than one: NCHW, i and w multiples of kWidth.
  template <int kWidth>
  HG_DEV Pack<T, kWidth> run(int i) const {
    const T* map = a_ + (nhwc_ ? channel_ : int64_t{channel_} * h * w);
    return *reinterpret_cast<const Pack<T, kWidth>*>(map + int64_t{i} * (nhwc_ ? channels_ : 1));
  }

  // The same, averaged.
  template <int kWidth>
  HG_DEV Pack<float, kWidth> mean_run(int i) const {
    const Pack<T, kWidth> a = run<kWidth>(i);
    const int x = i % w, y = i / w;
    Pack<float, kWidth> mean;
    float next = mirrored(0, x, y);
    if constexpr (kWidth == 1) {
      mean.v[0] = merge(to_float(a.v[0]), next);
    } else {
      // b.v backwards are columns w - 1 - x, w - 2 - x, ...; the shift moves them on by one and needs one value more.
      using P = Pack<T, kWidth>;
      const P b = *reinterpret_cast<const P*>(b_ + offset(flipped_.partner[channel_], w - x - kWidth, y));
      const bool shift = flipped_.shift != 0;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const float plain = to_float(b.v[kWidth - 1 - j]);
        mean.v[j] = merge(to_float(a.v[j]), shift ? next : plain);
        next = plain;
      }
    }
    return mean;
  }

 private:
  HG_DEV bool exists(int c) const { return channel_ + c < channels_; }
  HG_DEV int64_t offset(int channel, int x, int y) const {
    return nhwc_ ? (int64_t{y} * w + x) * channels_ + channel : (int64_t{channel} * h + y) * w + x;
  }
  HG_DEV float mirrored(int c, int x, int y) const {
    const int column = static_cast<int>(FlippedMaps::column(x, w, flipped_.shift));
    return to_float(b_[offset(flipped_.partner[channel_ + c], column, y)]);
  }
  HG_DEV float merge(float a, float b) const {
    const float mean = (a + b) * 0.5f;
    return clamps_at_one_ && mean > 1.0f ? 1.0f : mean;
  }

  const FlippedMaps& flipped_;
  const bool clamps_at_one_;
  const int channel_, channels_;
  const bool nhwc_;
  const T* a_;
  const T* b_;
};

}  // namespace hgfast::cuda
