// What follows the sum of products, one vector of channels of one pixel at a time, in registers: bias, residual, ReLU,
// the merge with the upsampled-to tensor (four pixels), the second output.
#pragma once

#include "common/conv.h"
#include "cpu/conv_gemm.h"

namespace hgfast::cpu::HGFAST_ISA {

// The first min(lanes, kConvLanes) elements; the others are 0 and not touched.
inline VecF load_lanes(const float* p, int64_t lanes) {
  if (lanes >= kConvLanes) return load(p);
#if defined(__AVX512F__)
  return (VecF)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << lanes) - 1), p);
#else
  VecF v = {};
  std::memcpy(&v, p, lanes * sizeof(float));
  return v;
#endif
}
inline VecF load_lanes(const BFloat16* p, int64_t lanes) {
  if (lanes >= kConvLanes) return load(p);
  BFloat16 padded[kConvLanes] = {};
  std::memcpy(padded, p, lanes * sizeof(BFloat16));
  return load(padded);
}

inline void store_lanes(float* p, VecF v, int64_t lanes) {
  if (lanes >= kConvLanes) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << lanes) - 1), (__m512)v);
#else
  std::memcpy(p, &v, lanes * sizeof(float));
#endif
}
inline void store_lanes(BFloat16* p, VecF v, int64_t lanes) {
  if (lanes >= kConvLanes) return store(p, v);
  BFloat16 all[kConvLanes];
  store(all, v);
  std::memcpy(p, all, lanes * sizeof(BFloat16));
}

inline VecF relu(VecF v) { return VecF{} > v ? VecF{} : v; }  // keeps NaN

// T: what residual, upsample_to and the outputs are stored in.
template <class T>
class ConvEpilogue {
 public:
  explicit ConvEpilogue(const Conv& conv)
      : shape_(conv.shape),
        bias_(conv.bias),
        scale2_(conv.scale2),
        shift2_(conv.shift2),
        residual_(static_cast<const T*>(conv.residual)),
        upsample_to_(static_cast<const T*>(conv.upsample_to)),
        y_(static_cast<T*>(conv.y)),
        y2_(static_cast<T*>(conv.y2)),
        relu_(conv.relu != 0) {}

  // v[r][..]: the sums for channels k .. of the r-th of `count` consecutive pixels of the convolution's result from
  // number `pixel` on (row after row, image after image).
  template <int kPixels, int kVecs>
  void finish(VecF (&v)[kPixels][kVecs], int64_t count, int64_t pixel, int64_t k) const {
    if (shape_.k - k >= kVecs * kConvLanes)
      finish_lanes(v, count, pixel, k, AllLanes());
    else
      finish_lanes(v, count, pixel, k, FirstLanes{shape_.k - k});
  }

  // Fetches, a share at each call, the lines that `finish` of `count` pixels and `width` channels will read and write.
  // (Pixels of a merge that lie in several rows are taken as if they were in one.) Inlined into the GEMM's loop, where
  // a call would spill all sums.
  class Ahead {
   public:
    Ahead(const ConvEpilogue& e, int64_t count, int64_t pixel, int64_t k, int width, int64_t calls)
        : width_(width), step_(e.shape_.k) {
      const bool merged = e.upsample_to_ != nullptr;
      const T* other = merged ? e.upsample_to_ : e.residual_;
      const int64_t offset = k + (merged ? e.merged_offset(Position(e.shape_, pixel), 0, 0) : pixel * e.shape_.k);
      row_ = merged ? e.shape_.out_w * e.shape_.k : 0;
      count_ = merged ? 2 * count : count;
      share_ = count_ <= calls ? 1 : ceil_div(count_, calls);  // a division takes as long as ten FMAs
      y_ = e.y_ + offset;
      other_ = other && other != e.y_ ? other + offset : nullptr;
      y2_ = e.y2_ ? e.y2_ + offset : nullptr;
    }

    [[gnu::always_inline]] void fetch() {
      for (int64_t i = 0; i < share_ && count_ > 0; ++i, --count_, offset_ += step_) {
        pixel(offset_);
        if (row_) pixel(offset_ + row_);
      }
    }

   private:
    [[gnu::always_inline]] void pixel(int64_t offset) const {
      for (int64_t lane = offset; lane < offset + width_; lane += 64 / sizeof(T)) {
        __builtin_prefetch(y_ + lane, 1, 3);
        if (other_) __builtin_prefetch(other_ + lane, 0, 3);
        if (y2_) __builtin_prefetch(y2_ + lane, 1, 3);
      }
    }

    const T *y_, *y2_, *other_;
    int64_t width_, step_, row_, count_, share_, offset_ = 0;
  };

 private:
  struct AllLanes {
    template <class E>
    VecF load(const E* p, int j) const {
      return HGFAST_ISA::load(p + j * kConvLanes);
    }
    void store(T* p, int j, VecF v) const { HGFAST_ISA::store(p + j * kConvLanes, v); }
  };
  struct FirstLanes {
    int64_t lanes;
    template <class E>
    VecF load(const E* p, int j) const {
      return load_lanes(p + j * kConvLanes, lanes - j * kConvLanes);
    }
    void store(T* p, int j, VecF v) const { store_lanes(p + j * kConvLanes, v, lanes - j * kConvLanes); }
  };

  struct Position {
    int64_t image, i, j;

    Position(const ConvShape& s, int64_t pixel) : image(pixel / s.q / s.p), i(pixel / s.q % s.p), j(pixel % s.q) {}
  };

  // Of the output pixel `down` and `right` of the first one that pixel `at` is merged into.
  int64_t merged_offset(const Position& at, int64_t down, int64_t right) const {
    return ((at.image * shape_.out_h + 2 * at.i + down) * shape_.out_w + 2 * at.j + right) * shape_.k;
  }

  // f(r, j, value) for the first `count` pixels of v, unrolled so that v stays in registers.
  template <int kPixels, int kVecs, class F>
  static void each(VecF (&v)[kPixels][kVecs], int64_t count, const F& f) {
#pragma GCC unroll 16
    for (int r = 0; r < kPixels; ++r) {
      if (r >= count) break;
#pragma GCC unroll 2
      for (int j = 0; j < kVecs; ++j) f(r, j, v[r][j]);
    }
  }

  template <int kPixels, int kVecs, class Lanes>
  void finish_lanes(VecF (&v)[kPixels][kVecs], int64_t count, int64_t pixel, int64_t k, const Lanes& lanes) const {
    const int64_t offset = pixel * shape_.k + k, step = shape_.k;
    if (bias_) {
      VecF bias[kVecs];
      for (int j = 0; j < kVecs; ++j) bias[j] = lanes.load(bias_ + k, j);
      each(v, count, [&](int, int j, VecF& value) { value += bias[j]; });
    }
    if (residual_)
      each(v, count, [&](int r, int j, VecF& value) { value += lanes.load(residual_ + offset + r * step, j); });
    if (relu_) each(v, count, [](int, int, VecF& value) { value = relu(value); });
    if (upsample_to_) return merge(v, count, pixel, k, lanes);
    each(v, count, [&](int r, int j, VecF& value) { lanes.store(y_ + offset + r * step, j, value); });
    if (!y2_) return;
    VecF scale[kVecs], shift[kVecs];
    for (int j = 0; j < kVecs; ++j) scale[j] = lanes.load(scale2_ + k, j), shift[j] = lanes.load(shift2_ + k, j);
    each(v, count, [&](int r, int j, VecF& value) {
      lanes.store(y2_ + offset + r * step, j, relu(scale[j] * value + shift[j]));
    });
  }

  // Each pixel goes to the up to four above it.
  template <int kPixels, int kVecs, class Lanes>
  void merge(VecF (&v)[kPixels][kVecs], int64_t count, int64_t pixel, int64_t k, const Lanes& lanes) const {
    for (int64_t r = 0; r < count; ++r) {
      const Position at(shape_, pixel + r);
      for (int64_t down = 0; down < std::min<int64_t>(2, shape_.out_h - 2 * at.i); ++down)
        for (int64_t right = 0; right < std::min<int64_t>(2, shape_.out_w - 2 * at.j); ++right) {
          const int64_t offset = merged_offset(at, down, right) + k;
          for (int j = 0; j < kVecs; ++j) write(v[r][j] + lanes.load(upsample_to_ + offset, j), offset, k, j, lanes);
        }
    }
  }

  template <class Lanes>
  void write(VecF v, int64_t offset, int64_t k, int j, const Lanes& lanes) const {
    lanes.store(y_ + offset, j, v);
    if (y2_) lanes.store(y2_ + offset, j, relu(lanes.load(scale2_ + k, j) * v + lanes.load(shift2_ + k, j)));
  }

  const ConvShape& shape_;
  const float *bias_, *scale2_, *shift2_;
  const T *residual_, *upsample_to_;
  T *y_, *y2_;
  bool relu_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
