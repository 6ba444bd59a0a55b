// A convolution of more images than one launch can count, as one launch for each slice of the batch.
//
// Kernels count a tensor's elements in 32 bits, and a grid has 65535 rows of pixel tiles; a slice is the most images
// that keep to both. Weights, bias and workspace are common: launches of a stream run one after another.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "cuda/conv_choice.cuh"

namespace hgfast::cuda {

constexpr int64_t kMaxGridRows = 65535, kSmallestTileM = 64;

// A tensor must have fewer elements. Tests on the emulator ask for less, as 2^31 of them would take it days.
inline int64_t element_limit() {
#if defined(HGFAST_EMULATOR)
  if (const char* wish = std::getenv("HGFAST_EMULATOR_ELEMENTS")) return std::atoll(wish);
#endif
  return int64_t{1} << 31;
}

// Images that a launch takes at most; 0 if one is too large.
inline int64_t images_a_launch(const ConvShape& s) {
  const int64_t largest = std::max({s.h * s.w * s.c, s.out_h * s.out_w * s.k, s.extra_h * s.extra_w * s.extra_c});
  return std::min((element_limit() - 1) / largest, kMaxGridRows * kSmallestTileM / (s.p * s.q));
}

// The shape of the first slice, the largest: what algorithm, packing and workspace are chosen for.
inline ConvShape first_slice(ConvShape s) {
  s.n = std::min(s.n, images_a_launch(s));
  return s;
}

// f(slice) for each slice of the batch.
template <class F>
void for_each_slice(const Conv& all, const F& f) {
  const ConvShape& s = all.shape;
  const int64_t bytes = s.dtype == DType::kFloat32 ? 4 : 2, images = first_slice(s).n;
  for (int64_t first = 0; first < s.n; first += images) {
    auto skip = [&](auto* tensor, int64_t elements) {  // of an image
      using Bytes = std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(tensor)>>, const char, char>;
      if (tensor != nullptr) tensor = static_cast<Bytes*>(tensor) + first * elements * bytes;
      return tensor;
    };
    Conv slice = all;
    slice.shape.n = std::min(images, s.n - first);
    slice.x = skip(all.x, s.h * s.w * s.c);
    slice.residual = skip(all.residual, s.p * s.q * s.k);
    slice.upsample_to = skip(all.upsample_to, s.out_h * s.out_w * s.k);
    slice.extra_x = skip(all.extra_x, s.extra_h * s.extra_w * s.extra_c);
    slice.y = skip(all.y, s.out_h * s.out_w * s.k);
    slice.y2 = skip(all.y2, s.out_h * s.out_w * s.k);
    f(slice);
  }
}

}  // namespace hgfast::cuda
