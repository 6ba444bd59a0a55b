// Heatmaps one by one as planes of float (double for double maps), whatever their type, memory order and flip test.
//
// A float plane without a flip test is used where it lies. Everything else is converted, averaged with its mirrored
// partner and put in order in a buffer that stays in cache: one plane, or for NHWC the planes of one image.
#pragma once

#include "common/heatmaps.h"
#include "cpu/buffer.h"
#include "cpu/decode_peak.h"

namespace hgfast::cpu::HGFAST_ISA {

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
    const int64_t size = shape_.h * shape_.w, group = shape_.layout == Layout::kNHWC ? shape_.k : 1;
    const int64_t first = index / group * group;
    if (shape_.layout == Layout::kNCHW && flipped_.maps != nullptr) return merged_plane(index);
    if constexpr (std::is_same_v<T, R>) {
      if (shape_.layout == Layout::kNCHW) return with_peak(maps_ + index * size);
    }
    if (first != prepared_) {
      R* out = buffer_.reserve(group * size);
      if (shape_.layout == Layout::kNHWC)
        prepare_image(index / shape_.k, out);
      else
        convert_plane(maps_ + index * size, out);
      prepared_ = first;
    }
    return with_peak(buffer_.data() + (index - first) * size);
  }

 private:
  PlaneWithPeak<R> with_peak(const R* plane) const { return {plane, find_peak(plane, shape_.h * shape_.w)}; }

  PlaneWithPeak<R> merged_plane(int64_t index) {
    R* out = buffer_.reserve(shape_.h * shape_.w);
    const FlippedPlane<T> planes{maps_ + index * shape_.h * shape_.w,
                                 partner(index),
                                 partner(index + 1),
                                 shape_.w,
                                 shape_.h,
                                 flipped_.shift,
                                 limit_};
    return {out, planes.merge(out)};
  }

  const T* partner(int64_t index) const {
    const int64_t image = index / shape_.k, channel = flipped_.partner[index % shape_.k];
    return static_cast<const T*>(flipped_.maps) + (image * shape_.k + channel) * shape_.h * shape_.w;
  }

  void convert_plane(const T* plane, R* out) const {
    const int64_t size = shape_.h * shape_.w;
    int64_t i = 0;
    for (; i + kLanes<T> <= size; i += kLanes<T>) store(out + i, load(plane + i));
    for (; i < size; ++i) out[i] = to_float(plane[i]);
  }

  void prepare_image(int64_t image, R* planes) const {
    const int64_t size = shape_.h * shape_.w, k = shape_.k;
    const T* a = maps_ + image * size * k;
    const T* b = flipped_.maps == nullptr ? nullptr : static_cast<const T*>(flipped_.maps) + image * size * k;
    constexpr int64_t kTile = 16;  // pixels whose channels stay in L1 while they are spread over the planes
    for (int64_t begin = 0; begin < size; begin += kTile) {
      const int64_t end = std::min(begin + kTile, size);
      for (int64_t channel = 0; channel < k; ++channel) {
        R* out = planes + channel * size;
        if (flipped_.maps == nullptr) {
          for (int64_t i = begin; i < end; ++i) out[i] = to_float(a[i * k + channel]);
          continue;
        }
        const int64_t partner = flipped_.partner[channel];
        for (int64_t i = begin; i < end; ++i) {
          const int64_t x = i % shape_.w, mirror = i - x + FlippedMaps::column(x, shape_.w, flipped_.shift);
          const R mean = (to_float(a[i * k + channel]) + to_float(b[mirror * k + partner])) * R(0.5);
          out[i] = mean > limit_ ? limit_ : mean;
        }
      }
    }
  }

  const HeatmapShape shape_;
  const T* maps_;
  const FlippedMaps& flipped_;
  const R limit_;  // of averaged values
  Buffer<R> buffer_;
  int64_t prepared_ = -1;
};

}  // namespace hgfast::cpu::HGFAST_ISA
