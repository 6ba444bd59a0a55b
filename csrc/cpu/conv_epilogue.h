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

inline void store_lanes(float* p, VecF v, int64_t lanes) {
  if (lanes >= kConvLanes) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << lanes) - 1), (__m512)v);
#else
  std::memcpy(p, &v, lanes * sizeof(float));
#endif
}

inline VecF relu(VecF v) { return VecF{} > v ? VecF{} : v; }  // keeps NaN

class ConvEpilogue {
 public:
  explicit ConvEpilogue(const Conv& conv)
      : shape_(conv.shape),
        bias_(conv.bias),
        scale2_(conv.scale2),
        shift2_(conv.shift2),
        residual_(static_cast<const float*>(conv.residual)),
        upsample_to_(static_cast<const float*>(conv.upsample_to)),
        y_(static_cast<float*>(conv.y)),
        y2_(static_cast<float*>(conv.y2)),
        relu_(conv.relu != 0) {}

  // v: the sum for channels k .. k + lanes of pixel (i, j) of an image.
  void finish(VecF v, int64_t image, int64_t i, int64_t j, int64_t k, int64_t lanes) const {
    const int64_t at = ((image * shape_.p + i) * shape_.q + j) * shape_.k + k;
    if (bias_) v += load_lanes(bias_ + k, lanes);
    if (residual_) v += load_lanes(residual_ + at, lanes);
    if (relu_) v = relu(v);
    if (!upsample_to_) return write(v, at, k, lanes);
    for (int64_t y = 2 * i; y < std::min(2 * i + 2, shape_.out_h); ++y)
      for (int64_t x = 2 * j; x < std::min(2 * j + 2, shape_.out_w); ++x) {
        const int64_t up = ((image * shape_.out_h + y) * shape_.out_w + x) * shape_.k + k;
        write(v + load_lanes(upsample_to_ + up, lanes), up, k, lanes);
      }
  }

 private:
  void write(VecF v, int64_t at, int64_t k, int64_t lanes) const {
    store_lanes(y_ + at, v, lanes);
    if (y2_) store_lanes(y2_ + at, relu(load_lanes(scale2_ + k, lanes) * v + load_lanes(shift2_ + k, lanes)), lanes);
  }

  const ConvShape& shape_;
  const float *bias_, *scale2_, *shift2_, *residual_, *upsample_to_;
  float *y_, *y2_;
  bool relu_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
