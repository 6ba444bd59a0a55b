// Heatmaps one by one as planes of float (double for double maps), whatever their type, memory order and flip test.
//
// A float plane without a flip test is used where it lies. Everything else is converted, averaged with its mirrored
// partner and put in order in a buffer that stays in cache: one plane, or for NHWC the planes of one image.
#pragma once

#include <algorithm>

#include "common/heatmaps.h"
#include "cpu/buffer.h"
#include "cpu/vecmath.h"

namespace hgfast::cpu::HGFAST_ISA {

// out[x] = (a[x] + b[column(x)]) / 2 for one row of a plane.
template <class T, class R>
void merge_planar_row(const T* a, const T* b, int64_t w, int shift, R* out) {
  constexpr int64_t kStep = kLanes<T>;
  const int64_t start = shift;  // from here on, b's column falls by one with each x
  int64_t x = 0;
  if (w - start >= kStep) {
    if (start == 1) out[0] = (to_float(a[0]) + to_float(b[w - 1])) * R(0.5);
    for (x = start; x < w; x += kStep) {
      if (x + kStep > w) x = w - kStep;
      const Vec<T> mirrored = reverse(load(b + (w - x - kStep + shift)));
      store(out + x, (load(a + x) + mirrored) * R(0.5));
    }
    return;
  }
  for (; x < w; ++x) out[x] = (to_float(a[x]) + to_float(b[FlippedMaps::column(x, w, shift)])) * R(0.5);
}

template <class T>
class MapPlanes {
 public:
  using R = typename Compute<T>::type;

  MapPlanes(const HeatmapShape& shape, const void* maps, const FlippedMaps& flipped, bool clamps_at_one)
      : shape_(shape), maps_(static_cast<const T*>(maps)), flipped_(flipped), clamps_at_one_(clamps_at_one) {}

  // Planes that are prepared together: work is divided among threads in multiples of this.
  int64_t group() const { return shape_.layout == Layout::kNHWC ? shape_.k : 1; }

  // Plane `index` of all n * k; valid until the next call. Planes of a group are best asked for in order.
  const R* plane(int64_t index) {
    const int64_t size = shape_.h * shape_.w, first = index / group() * group();
    if constexpr (std::is_same_v<T, R>) {
      if (shape_.layout == Layout::kNCHW && flipped_.maps == nullptr) return maps_ + index * size;
    }
    if (first != prepared_) {
      R* out = buffer_.reserve(group() * size);
      shape_.layout == Layout::kNHWC ? prepare_image(index / shape_.k) : prepare_plane(index);
      for (int64_t i = 0; clamps_at_one_ && i < group() * size; ++i) out[i] = out[i] > 1 ? 1 : out[i];
      prepared_ = first;
    }
    return buffer_.data() + (index - first) * size;
  }

 private:
  void prepare_plane(int64_t index) {
    const int64_t size = shape_.h * shape_.w, channel = index % shape_.k;
    const T* a = maps_ + index * size;
    R* out = buffer_.data();
    if (flipped_.maps == nullptr) {
      int64_t i = 0;
      for (; i + kLanes<T> <= size; i += kLanes<T>) store(out + i, load(a + i));
      for (; i < size; ++i) out[i] = to_float(a[i]);
      return;
    }
    const T* b = static_cast<const T*>(flipped_.maps) + (index - channel + flipped_.partner[channel]) * size;
    for (int64_t y = 0; y < shape_.h; ++y)
      merge_planar_row(a + y * shape_.w, b + y * shape_.w, shape_.w, flipped_.shift, out + y * shape_.w);
  }

  void prepare_image(int64_t image) {
    const int64_t size = shape_.h * shape_.w, k = shape_.k;
    const T* a = maps_ + image * size * k;
    const T* b = static_cast<const T*>(flipped_.maps) + image * size * k;
    constexpr int64_t kTile = 16;  // pixels whose channels stay in L1 while they are spread over the planes
    for (int64_t begin = 0; begin < size; begin += kTile) {
      const int64_t end = std::min(begin + kTile, size);
      for (int64_t channel = 0; channel < k; ++channel) {
        R* out = buffer_.data() + channel * size;
        if (flipped_.maps == nullptr) {
          for (int64_t i = begin; i < end; ++i) out[i] = to_float(a[i * k + channel]);
          continue;
        }
        const int64_t partner = flipped_.partner[channel];
        for (int64_t i = begin; i < end; ++i) {
          const int64_t x = i % shape_.w, mirror = i - x + FlippedMaps::column(x, shape_.w, flipped_.shift);
          out[i] = (to_float(a[i * k + channel]) + to_float(b[mirror * k + partner])) * R(0.5);
        }
      }
    }
  }

  const HeatmapShape shape_;
  const T* maps_;
  const FlippedMaps& flipped_;
  const bool clamps_at_one_;
  Buffer<R> buffer_;
  int64_t prepared_ = -1;
};

}  // namespace hgfast::cpu::HGFAST_ISA
