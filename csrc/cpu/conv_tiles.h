// The two ways to make V and to read M: Winograd tiles (any transform) and single pixels with all taps (im2col).
#pragma once

#include "cpu/conv_epilogue.h"
#include "cpu/conv_layout.h"

namespace hgfast::cpu::HGFAST_ISA {

struct TilePosition {
  int64_t image, y, x;  // image of the batch; row and column of the tile

  TilePosition(const ConvLayout& layout, int64_t tile) {
    const int64_t row = tile / layout.tiles_w;
    x = tile % layout.tiles_w;
    y = row % layout.tiles_h;
    image = row / layout.tiles_h;
  }
};

// A vector of channels c .. of pixel (y, x), zero outside of the image.
template <class T>
inline VecF load_padded(const T* image, const ConvShape& s, int64_t y, int64_t x, int64_t c) {
  if (static_cast<uint64_t>(y) >= static_cast<uint64_t>(s.h)) return VecF{};
  if (static_cast<uint64_t>(x) >= static_cast<uint64_t>(s.w)) return VecF{};
  return load_lanes(image + (y * s.w + x) * s.c + c, s.c - c);
}

// Output pixel (i, j)'s extra input, as blocks of lanes `step` floats apart; zero where there is no such pixel.
template <class T>
inline void gather_extra(const Conv& conv, int64_t image, int64_t i, int64_t j, float* to, int64_t step) {
  const ConvShape& s = conv.shape;
  const bool inside = i < s.p && j < s.q;
  const int64_t pixel = (image * s.extra_h + i * s.extra_stride) * s.extra_w + j * s.extra_stride;
  const T* from = static_cast<const T*>(conv.extra_x) + pixel * s.extra_c;
  for (int64_t c = 0; c < s.extra_c; c += kConvLanes, to += step)
    store(to, inside ? load_lanes(from + c, s.extra_c - c) : VecF{});
}

// Storage: of activations; the arithmetic is float32.
// Of int16 (conv_int16.h): of each tile's points, and of the points of a group of output channels.
struct Scales {
  const float *of_tiles, *of_channels;
};

template <class T, class Storage>
struct WinogradTiles {
  using Input = Storage;
  using Output = Storage;
  using Product = FloatProduct;
  using ExtraProduct = FloatProduct;
  static constexpr bool kPixels = false;
  static constexpr int kIn = T::kIn, kPoints = T::kPoints, kOut = T::kOut;

  // Transforms the input of tile `tile` into slot `slot` of V.
  static void gather(const Conv& conv, const ConvLayout& layout, int64_t tile, int64_t slot, float* v, float*) {
    const TilePosition at(layout, tile);
    transform(conv, at, v + slot * kConvLanes, layout.v_block(), layout.v_point());
    if (layout.extra_blocks)
      gather_extra_tile<Storage>(conv, layout, at, slot, v + kPoints * kPoints * layout.v_point());
  }

  // The points of a tile's input: vectors of channels `block` floats apart, points `point` floats.
  static void transform(const Conv& conv, const TilePosition& at, float* to, int64_t block, int64_t point) {
    const ConvShape& s = conv.shape;
    const int64_t y0 = at.y * kOut * T::kStride - 1, x0 = at.x * kOut * T::kStride - 1;
    const auto* image = static_cast<const Storage*>(conv.x) + at.image * s.h * s.w * s.c;
    const bool inside = y0 >= 0 && x0 >= 0 && y0 + kIn <= s.h && x0 + kIn <= s.w && s.c % kConvLanes == 0;
    for (int64_t c = 0; c < s.c; c += kConvLanes, to += block) {
      VecF columns[kPoints][kIn];  // [point of the column transform][column]
      for (int j = 0; j < kIn; ++j) {
        VecF d[kIn], u[kPoints];
        for (int i = 0; i < kIn; ++i)
          d[i] = inside ? load(image + ((y0 + i) * s.w + x0 + j) * s.c + c) : load_padded(image, s, y0 + i, x0 + j, c);
        T::input(d, u);
        for (int p = 0; p < kPoints; ++p) columns[p][j] = u[p];
      }
      for (int p = 0; p < kPoints; ++p) {
        VecF u[kPoints];
        T::input(columns[p], u);
        for (int q = 0; q < kPoints; ++q) store(to + (p * kPoints + q) * point, u[q]);
      }
    }
  }

  template <class In>
  static void gather_extra_tile(const Conv& conv, const ConvLayout& layout, const TilePosition& at, int64_t slot,
                                float* v) {
    for (int i = 0; i < kOut; ++i)
      for (int j = 0; j < kOut; ++j) {
        const int64_t row = slot * kOut * kOut + i * kOut + j;
        gather_extra<In>(conv, at.image, at.y * kOut + i, at.x * kOut + j, v + row * kConvLanes,
                         layout.extra_v_block());
      }
  }

  // Transforms the products of channels k .. of slot `slot` back and finishes the pixels of the tile at `at`. m and
  // extra point at those channels of slot 0; they have `width` floats per row.
  static void scatter(const ConvEpilogue<Storage>& epilogue, const ConvShape& s, const ConvLayout& layout,
                      const TilePosition& at, int64_t slot, const float* m, const float* extra, int width, int64_t k,
                      const Scales&) {
    const auto product = [&](int p) { return load(m + p * layout.m_point(width) + slot * width); };
    finish(epilogue, s, layout, at, slot, product, extra, width, k);
  }

  // The same for product(point).
  template <class F>
  static void finish(const ConvEpilogue<Storage>& epilogue, const ConvShape& s, const ConvLayout& layout,
                     const TilePosition& at, int64_t slot, const F& product, const float* extra, int width, int64_t k) {
    VecF columns[kOut][kPoints];
    for (int q = 0; q < kPoints; ++q) {
      VecF products[kPoints], y[kOut];
      for (int p = 0; p < kPoints; ++p) products[p] = product(p * kPoints + q);
      T::output(products, y);
      for (int i = 0; i < kOut; ++i) columns[i][q] = y[i];
    }
    const int64_t y0 = at.y * kOut, x0 = at.x * kOut, inside = std::min<int64_t>(kOut, s.q - x0);
    for (int i = 0; i < kOut && y0 + i < s.p; ++i) {
      VecF sums[kOut], y[kOut][1];
      T::output(columns[i], sums);
      for (int j = 0; j < kOut; ++j) {
        y[j][0] = sums[j];
        if (layout.extra_blocks) y[j][0] += load(extra + (slot * kOut * kOut + i * kOut + j) * width);
      }
      epilogue.finish(y, inside, (at.image * s.p + y0 + i) * s.q + x0, k);
    }
  }
};

// In: what inputs are stored in, gathered as 4-byte numbers (a pair of bfloat16 is one as it lies); Out: all else.
template <class In, class Out, class Product_ = FloatProduct>
struct DirectTiles {
  using Input = In;
  using Output = Out;
  using Product = Product_;
  static constexpr bool kPixels = true;  // a tile is an output pixel

  // Copies all taps of output pixel `tile` to slot `slot` of V: kernel rows one after the other, each kernel x c
  // floats.
  static void gather(const Conv& conv, const ConvLayout& layout, int64_t tile, int64_t slot, float* v, float* scratch) {
    const ConvShape& s = conv.shape;
    const TilePosition at(layout, tile);
    float* to = v + slot * kConvLanes;
    if (s.c % kConvLanes == 0)
      gather_vectors(conv, at, to, layout.v_block());
    else
      gather_elements(conv, at, to, layout.v_block(), scratch);
    if (layout.extra_blocks)
      gather_extra<In>(conv, at.image, at.y, at.x, to + layout.blocks * layout.v_block(), layout.v_block());
  }

  static void gather_vectors(const Conv& conv, const TilePosition& at, float* to, int64_t step) {
    const ConvShape& s = conv.shape;
    const auto* image = static_cast<const In*>(conv.x) + at.image * s.h * s.w * s.c;
    const int64_t y0 = at.y * s.stride - s.kernel / 2, x0 = at.x * s.stride - s.kernel / 2;
    for (int64_t y = y0; y < y0 + s.kernel; ++y)
      for (int64_t x = x0; x < x0 + s.kernel; ++x)
        for (int64_t c = 0; c < s.c; c += kConvLanes, to += step) store(to, load_padded(image, s, y, x, c));
  }

  // Channels that do not fill vectors (a wide kernel's few): the taps of a kernel row follow each other without gaps,
  // first in `scratch`, where each run ends in zeros that the next one overwrites.
  static void gather_elements(const Conv& conv, const TilePosition& at, float* to, int64_t step, float* scratch) {
    const ConvShape& s = conv.shape;
    const auto* image = static_cast<const In*>(conv.x) + at.image * s.h * s.w * s.c;
    const int64_t y0 = at.y * s.stride - s.kernel / 2, x0 = at.x * s.stride - s.kernel / 2, row = s.kernel * s.c;
    const int64_t first = std::max<int64_t>(0, -x0) * s.c, last = std::min(row, (s.w - x0) * s.c);
    float* end = scratch;
    for (int64_t y = y0; y < y0 + s.kernel; ++y, end += row) {
      const bool inside = y >= 0 && y < s.h;
      if (!inside || last - first < row)
        for (int64_t e = 0; e < row; e += kConvLanes) store(end + e, VecF{});
      if (!inside) continue;
      const In* from = image + (y * s.w + x0) * s.c;
      for (int64_t e = first; e < last; e += kConvLanes) store(end + e, load_lanes(from + e, last - e));
    }
    store(end, VecF{});
    for (const float* taps = scratch; taps < end; taps += kConvLanes, to += step) store(to, load(taps));
  }
};

// Finishes the products of the direct algorithm, whose rows are the pixels of the block at `first`, in the GEMM's
// registers.
template <class In, class Out>
struct PixelSink {
  const Conv& conv;
  const ConvEpilogue<Out>& epilogue;
  const ConvLayout& layout;
  int64_t first;
  KGroup channels;

  // Fetches what the next calls will miss in the caches, a share in each step of this one: the output lines of the next
  // group of channels (or of the pixels that follow) and this group's share of the next block's input. Without it a
  // 1x1 convolution of large images runs at half the speed.
  struct Ahead {
    typename ConvEpilogue<Out>::Ahead output;
    const In* input;
    int64_t lines;

    [[gnu::always_inline]] void fetch() {
      output.fetch();
      for (int64_t i = 0; i < lines; ++i, input += kLine) __builtin_prefetch(input, 0, 3);
    }
  };

  Ahead ahead(int64_t row, int64_t count, int64_t steps) const {
    const ConvShape& s = conv.shape;
    const int64_t next = channels.first + channels.width;
    const bool last = next >= s.k;
    typename ConvEpilogue<Out>::Ahead output(epilogue, count, first + (last ? row + count : row), last ? 0 : next,
                                             channels.width, steps);
    if (s.kernel > 1 || s.stride > 1) return {output, nullptr, 0};
    const int64_t lines = ceil_div(count * s.c / kLine, layout.k_groups * steps);
    const In* input = static_cast<const In*>(conv.x) + (first + layout.tile_block + row) * s.c;
    return {output, input + channels.first / kGemmWidth * lines * steps * kLine, lines};
  }

  template <int kRows, int kVecs>
  void take(VecF (&sum)[kRows][kVecs], int64_t row) const {
    epilogue.finish(sum, kRows, first + row, channels.first);
  }

 private:
  static constexpr int64_t kLine = 64 / sizeof(In);
};

}  // namespace hgfast::cpu::HGFAST_ISA
