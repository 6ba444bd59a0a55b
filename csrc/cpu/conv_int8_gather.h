// Input of a convolution of codes, gathered into V: each output pixel's taps, one behind the other.
#pragma once

#include "cpu/codes.h"
#include "cpu/conv_int8_layout.h"

namespace hgfast::cpu::HGFAST_ISA {

class Int8Gather {
 public:
  Int8Gather(const ConvInt8& conv, const Int8Layout& layout) : conv_(conv), s_(conv.shape), layout_(layout) {}

  // Output pixel number `pixel` to `v`, layout.v_row() floats.
  void pixel(int64_t pixel, float* v) const {
    const int64_t line = pixel / s_.q, j = pixel % s_.q, image = line / s_.p, i = line % s_.p;
    auto* to = reinterpret_cast<uint8_t*>(v);
    std::memset(to + 4 * (layout_.blocks - 1) * kConvLanes, 0, kVecBytes);  // what the last tap leaves of its vector
    const int64_t y0 = i * s_.stride - s_.kernel / 2, x0 = j * s_.stride - s_.kernel / 2;
    for (int64_t y = y0; y < y0 + s_.kernel; ++y, to += s_.kernel * s_.c) row(image, y, x0, to);
    if (s_.extra_c == 0) return;
    to = reinterpret_cast<uint8_t*>(v + layout_.panel_blocks() * kConvLanes) - kVecBytes;
    std::memset(to, 0, kVecBytes);
    const int64_t at = (image * s_.extra_h + i * s_.extra_stride) * s_.extra_w + j * s_.extra_stride;
    std::memcpy(v + layout_.blocks * kConvLanes, conv_.extra_x + at * s_.extra_c, s_.extra_c);
  }

 private:
  // The taps of one row of the kernel, which lie side by side in the image.
  void row(int64_t image, int64_t y, int64_t x0, uint8_t* to) const {
    const int64_t first = std::clamp<int64_t>(-x0, 0, s_.kernel);
    const int64_t last = y < 0 || y >= s_.h ? first : std::clamp(s_.w - x0, first, s_.kernel);
    const int border = static_cast<int>(conv_.x_zero);
    if (last - first < s_.kernel) std::memset(to, border, s_.kernel * s_.c);
    const int64_t at = (image * s_.h + y) * s_.w + x0 + first;
    if (last > first) std::memcpy(to + first * s_.c, conv_.x + at * s_.c, (last - first) * s_.c);
  }

  const ConvInt8& conv_;
  const ConvShape& s_;
  const Int8Layout& layout_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
