// Heatmaps one by one as planes of float (double for double maps), whatever their type, memory order and flip test.
//
// A float plane without a flip test is used where it lies. Everything else is converted, averaged with its mirrored
// partner and put in order in a buffer that stays in cache: one plane, or for NHWC the planes of one image.
#pragma once

#include "common/heatmaps.h"
#include "cpu/buffer.h"
#include "cpu/decode_peak.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {

// A plane as a function of the place.
template <class R>
struct Plane {
  const R* values;
  int w, h;
  R operator()(int x, int y) const { return values[int64_t{y} * w + x]; }
};

template <class R>
struct PlaneWithPeak {
  const R* values;
  Peak<R> peak;
};

template <class T>
class MapPlanes {
 public:
  using R = typename Compute<T>::type;

  MapPlanes(const HeatmapShape& shape, const void* maps, const FlippedMaps& flipped, R limit)
      : shape_(shape), maps_(static_cast<const T*>(maps)), flipped_(flipped), limit_(limit) {}

  // Plane `index` of all n * k and its maximum; valid until the next call. To be asked for in order.
  PlaneWithPeak<R> plane(int64_t index) {
    const int64_t image = index / shape_.k, channel = index % shape_.k, size = shape_.h * shape_.w;
    const int64_t first = image * shape_.k * size, here = channel * size;
    if (shape_.layout == Layout::kNHWC) {
      spread(maps_ + first, image, planes_);
      const R* plane = planes_.values.data() + channel * spread_stride();
      if (flipped_.maps == nullptr) return with_peak(plane);
      spread(static_cast<const T*>(flipped_.maps) + first, image, partners_);
      return merged(plane, partners_.values.data(), spread_stride(), channel);
    }
    if (flipped_.maps != nullptr)
      return merged(maps_ + first + here, static_cast<const T*>(flipped_.maps) + first, size, channel);
    if constexpr (std::is_same_v<T, R>)
      return with_peak(maps_ + first + here);
    else
      return with_peak(convert(maps_ + first + here));
  }

 private:
  // The planes of one image of NHWC maps.
  struct Image {
    Buffer<R> values;
    int64_t number = -1;
  };

  PlaneWithPeak<R> with_peak(const R* plane) const { return {plane, find_peak(plane, shape_.h * shape_.w)}; }

  // One plane averaged with its partner among the planes of `partners`, which lie `stride` apart.
  template <class S>
  PlaneWithPeak<R> merged(const S* plane, const S* partners, int64_t stride, int64_t channel) {
    const int64_t next = channel + 1 < shape_.k ? channel + 1 : channel;
    R* out = buffer_.reserve(shape_.h * shape_.w);
    const FlippedPlane<S> planes{plane,
                                 partners + flipped_.partner[channel] * stride,
                                 partners + flipped_.partner[next] * stride,
                                 shape_.w,
                                 shape_.h,
                                 flipped_.shift,
                                 limit_};
    return {out, planes.merge(out)};
  }

  const R* convert(const T* plane) {
    const int64_t size = shape_.h * shape_.w;
    R* out = buffer_.reserve(size);
    int64_t i = 0;
    for (; i + kLanes<T> <= size; i += kLanes<T>) store(out + i, load(plane + i));
    for (; i < size; ++i) out[i] = to_float(plane[i]);
    return out;
  }

  // Planes of a power of two would all fall on the same few sets of the cache: a line more between them.
  int64_t spread_stride() const { return (shape_.h * shape_.w / kLanes<T> + 2) * kLanes<T>; }

  // Planes from pixels, once an image. Blocks of kStep pixels and channels are turned in registers; where fewer
  // channels are left, a pixel's vector holds the next pixel's too, which are not stored.
  void spread(const T* pixels, int64_t number, Image& image) {
    if (image.number == number) return;
    image.number = number;
    constexpr int64_t kStep = kLanes<T>;
    const int64_t size = shape_.h * shape_.w, k = shape_.k, stride = spread_stride();
    R* out = image.values.reserve(k * stride);
    for (int64_t pixel = 0; pixel < size; pixel += kStep)
      for (int64_t channel = 0; channel < k; channel += kStep) {
        const int64_t channels = std::min(kStep, k - channel);
        if ((pixel + kStep - 1) * k + channel + kStep <= size * k) {
          Vec<T> block[kStep];
          for (int64_t i = 0; i < kStep; ++i) block[i] = load(pixels + (pixel + i) * k + channel);
          transpose(block);
          for (int64_t c = 0; c < channels; ++c) store(out + (channel + c) * stride + pixel, block[c]);
        } else {
          for (int64_t c = channel; c < channel + channels; ++c)
            for (int64_t i = pixel; i < std::min(pixel + kStep, size); ++i)
              out[c * stride + i] = to_float(pixels[i * k + c]);
        }
      }
  }

  const HeatmapShape shape_;
  const T* maps_;
  const FlippedMaps& flipped_;
  const R limit_;  // of averaged values
  Buffer<R> buffer_;
  Image planes_, partners_;
};

const FlippedMaps kNoFlip{};

// f(planes, begin, end) for ranges of all n * k planes, on `exec` threads.
template <class T, class F>
void for_plane_ranges(const HeatmapShape& shape, const void* maps, const FlippedMaps& flipped,
                      typename MapPlanes<T>::R limit, Exec exec, const F& f) {
  constexpr int64_t kBytesPerChunk = 128 * 1024;
  const int64_t group = shape.layout == Layout::kNHWC ? shape.k : 1;  // planes that are prepared together
  const int64_t grain = kBytesPerChunk / std::max<int64_t>(1, group * shape.h * shape.w * sizeof(T));
  parallel_for(shape.maps() / group, grain, exec, [&](int64_t begin, int64_t end, int) {
    MapPlanes<T> planes(shape, maps, flipped, limit);
    f(planes, begin * group, end * group);
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
