// Copies of a block's input from which tiles are loaded (TileInput::kBordered and kGathered).
#pragma once

#include <algorithm>

#include "cpu/amx/layout.h"
#include "cpu/vec.h"

namespace hgfast::cpu::HGFAST_ISA {

// The first `count` < kStep numbers, and zeros.
inline void copy_part(const BFloat16* from, int64_t count, BFloat16* to) {
#if defined(__AVX512BW__)
  const __mmask32 mask = (1u << count) - 1;
  _mm512_storeu_si512(to, _mm512_maskz_loadu_epi16(mask, from));
#else
  std::memset(to, 0, kTileBytes);
  std::memcpy(to, from, count * sizeof(BFloat16));
#endif
}

// kStep numbers.
[[gnu::always_inline]] inline void copy_step(const BFloat16* from, BFloat16* to) {
  constexpr int kNumbers = kVecBytes / sizeof(BFloat16);
  for (int i = 0; i < kStep; i += kNumbers) {
    VecU v;
    std::memcpy(&v, from + i, sizeof(v));
    std::memcpy(to + i, &v, sizeof(v));
  }
}

// Row `row` of the copy of the block of output rows that begins at `first`: zeros beyond the image.
inline void copy_bordered_row(const Conv& conv, const TileLayout& l, int64_t image, int64_t first, int64_t row,
                              BFloat16* to) {
  const ConvShape& s = conv.shape;
  const int64_t border = s.kernel / 2, y = first * s.stride - border + row;
  const int64_t columns = l.bordered_columns(s), plane = l.bordered_rows(s) * columns * kStep;
  const bool inside = y >= 0 && y < s.h;
  const auto* from = static_cast<const BFloat16*>(conv.x) + (image * s.h + y) * s.w * s.c;
  to += row * columns * kStep;
  for (int64_t column = 0; column < columns; ++column, to += kStep) {
    const int64_t x = column - border;
    if (inside && x >= 0 && x < s.w)
      for (int64_t c = 0; c < s.c; c += kStep) copy_step(from + x * s.c + c, to + c / kStep * plane);
    else
      for (int64_t c = 0; c < s.c; c += kStep) std::memset(to + c / kStep * plane, 0, kTileBytes);
  }
}

// Row and column of the output, and its image.
struct TilePixel {
  int64_t image, i, j;

  TilePixel(const ConvShape& s, int64_t pixel) : image(pixel / s.q / s.p), i(pixel / s.q % s.p), j(pixel % s.q) {}
};

// A kernel row of c channels, of which the numbers from `first` to before `last` lie in the image; steps `step` apart.
inline void gather_run(const BFloat16* from, int64_t first, int64_t last, int64_t length, int64_t step, BFloat16* to) {
  for (int64_t e = 0; e < length; e += kStep, to += step) {
    const int64_t begin = std::max(first - e, int64_t{0}), end = std::min(last - e, kStep);
    if (begin == 0 && end == kStep)
      copy_step(from + e, to);
    else if (begin == 0 && end > 0)
      copy_part(from + e, end, to);
    else {
      std::memset(to, 0, kTileBytes);
      if (begin < end) std::memcpy(to + begin, from + e + begin, (end - begin) * sizeof(BFloat16));
    }
  }
}

// All taps of a pixel to its place in the first step.
inline void gather_pixel(const Conv& conv, const TileLayout& l, int64_t pixel, BFloat16* to) {
  const ConvShape& s = conv.shape;
  const TilePixel at(s, pixel);
  const int64_t y0 = at.i * s.stride - s.kernel / 2, x0 = at.j * s.stride - s.kernel / 2;
  const int64_t length = s.kernel * s.c, steps = l.steps / s.kernel, step = l.gathered_step() / sizeof(BFloat16);
  const int64_t first = std::max<int64_t>(0, -x0) * s.c, last = std::min(length, (s.w - x0) * s.c);
  const auto* image = static_cast<const BFloat16*>(conv.x) + at.image * s.h * s.w * s.c;
  for (int64_t y = y0; y < y0 + s.kernel; ++y, to += steps * step)
    gather_run(image + (y * s.w + x0) * s.c, first, y >= 0 && y < s.h ? last : first, length, step, to);
}

// A pixel's extra input.
inline void gather_extra_pixel(const Conv& conv, const TileLayout& l, int64_t pixel, BFloat16* to) {
  const ConvShape& s = conv.shape;
  const TilePixel at(s, pixel);
  const int64_t from = (at.image * s.extra_h + at.i * s.extra_stride) * s.extra_w + at.j * s.extra_stride;
  gather_run(static_cast<const BFloat16*>(conv.extra_x) + from * s.extra_c, 0, s.extra_c, s.extra_c,
             l.gathered_step() / sizeof(BFloat16), to);
}

}  // namespace hgfast::cpu::HGFAST_ISA
