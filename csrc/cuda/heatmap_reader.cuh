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

  // All kChannels maps at pixel (x, y); NaN for those that do not exist.
  template <bool kPacked>
  HG_DEV void read_pixel(int x, int y, float (&out)[kChannels]) const {
    const T* pixel = a_ + offset(channel_, x, y);
    Pack<T, kChannels> a;
    if constexpr (kPacked) a = *reinterpret_cast<const Pack<T, kChannels>*>(pixel);
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      const bool exists = kPacked || channel_ + c < channels_;
      out[c] = kPacked ? to_float(a.v[c]) : exists ? to_float(pixel[c]) : nanf("");
      if (exists && flipped_.maps != nullptr) out[c] = merge(out[c], mirrored(c, x, y));
    }
  }

  // NCHW: kWidth values from (x, y) on, x and w multiples of kWidth.
  template <int kWidth>
  HG_DEV void read_run(int x, int y, float (&out)[kWidth]) const {
    using P = Pack<T, kWidth>;
    const P a = *reinterpret_cast<const P*>(a_ + offset(channel_, x, y));
#pragma unroll
    for (int j = 0; j < kWidth; ++j) out[j] = to_float(a.v[j]);
    if (flipped_.maps == nullptr) return;
    // b.v backwards are columns w - 1 - x, w - 2 - x, ...; the shift moves them on by one and needs one value more.
    const P b = *reinterpret_cast<const P*>(b_ + offset(flipped_.partner[channel_], w - x - kWidth, y));
    const bool shift = flipped_.shift != 0;
    float next = mirrored(0, x, y);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float plain = to_float(b.v[kWidth - 1 - j]);
      out[j] = merge(out[j], shift ? next : plain);
      next = plain;
    }
  }

 private:
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
