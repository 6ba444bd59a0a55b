// Winograd's algorithm on int16: transforms in float32, products of 16 bits whose sums are exact, at twice the rate of
// float32 (conv_product.h).
//
// Transformed inputs and weights are vectors over the channels, one for each tile, or output channel, and point. Each
// is scaled so that its Euclidean norm is kNorm: then no sum of products exceeds kNorm^2 (Cauchy and Schwarz), whatever
// the data, and int32 holds it. The rounding of a vector of C numbers errs by sqrt(C / 12) of kNorm, 1.4e-4 for 256
// channels, where bfloat16 errs by 1.7e-3: F(4,3), which enlarges such errors ten times, is as good as a direct
// convolution in bfloat16, where with operands in bfloat16 it loses another digit. Norms are taken in float32:
// activations beyond 1e18 give infinity or NaN.
#pragma once

#include <cmath>

#include "cpu/conv_tiles.h"

namespace hgfast::cpu::HGFAST_ISA {

typedef int32_t VecI __attribute__((vector_size(kVecBytes)));

constexpr float kNorm = 32766;  // of a vector of int16; rounding may add a half to its largest number

// Both rounded to int16, side by side; of less than 2^15.
inline VecF int16_pairs(VecF low, VecF high, VecF scale) {
  constexpr float kRound = 3 << 22;  // the last bit of a float of this size stands for 1
  const VecU first = bit_cast<VecU>(low * scale + kRound), second = bit_cast<VecU>(high * scale + kRound);
  return bit_cast<VecF>((first & 0xffffu) | second << 16);
}

// What numbers are multiplied by to become int16, and int16 to become them again, from the sum of their squares.
struct Int16Scale {
  VecF to, from;

  explicit Int16Scale(VecF squares) {
    for (int i = 0; i < kConvLanes; ++i) from[i] = std::sqrt(squares[i]) * (1 / kNorm);
    to = squares > 0 ? 1 / from : VecF{};
  }
};

inline float sum_of_lanes(VecF v) {
  float sum = 0;
  for (int i = 0; i < kConvLanes; ++i) sum += v[i];
  return sum;
}

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)

// A GEMM's number holds channels c and c + kConvLanes of 2 * kConvLanes neighbours.
template <class T>
struct Int16Tiles {
  using Input = BFloat16;
  using Output = BFloat16;
  using Product = Int16Product;
  using ExtraProduct = Bfloat16Product;
  using Float = WinogradTiles<T, BFloat16>;
  static constexpr bool kPixels = false;
  static constexpr int kAll = T::kPoints * T::kPoints;

  static void gather(const Conv& conv, const ConvLayout& layout, int64_t tile, int64_t slot, float* v, float* scratch) {
    const TilePosition at(layout, tile);
    const int64_t step = layout.scratch_point(), c = conv.shape.c;
    Float::transform(conv, at, scratch, kConvLanes, step);
    if (ceil_div(c, kConvLanes) % 2)
      for (int p = 0; p < kAll; ++p) store(scratch + p * step + ceil_div(c, kConvLanes) * kConvLanes, VecF{});
    alignas(64) float scales[(kAll + kConvLanes - 1) / kConvLanes * kConvLanes] = {};
    for (int p = 0; p < kAll; ++p) scales[p] = sum_of_squares(scratch + p * step, layout.blocks);
    for (int p = 0; p < kAll; p += kConvLanes) {
      const Int16Scale scale(load(scales + p));
      store(scales + p, scale.to);
      store(v + layout.v_scales() + slot * layout.scale_step() + p, scale.from);
    }
    for (int p = 0; p < kAll; ++p) {
      const VecF scale = VecF{} + scales[p];
      const float* from = scratch + p * step;
      float* to = v + p * layout.v_point() + slot * kConvLanes;
      for (int64_t block = 0; block < layout.blocks; ++block, from += 2 * kConvLanes, to += layout.v_block())
        store(to, int16_pairs(load(from), load(from + kConvLanes), scale));
    }
    if (layout.extra_blocks)
      Float::template gather_extra_tile<float>(conv, layout, at, slot, v + kAll * layout.v_point());
  }

  static void scatter(const ConvEpilogue<BFloat16>& epilogue, const ConvShape& s, const ConvLayout& layout,
                      const TilePosition& at, int64_t slot, const float* m, const float* extra, int width, int64_t k,
                      const Scales& scales) {
    const float* of_tile = scales.of_tiles + slot * layout.scale_step();
    const auto product = [&](int p) {
      const VecI sum = bit_cast<VecI>(load(m + p * layout.m_point(width) + slot * width));
      return __builtin_convertvector(sum, VecF) * load(scales.of_channels + p * width) * (VecF{} + of_tile[p]);
    };
    Float::finish(epilogue, s, layout, at, slot, product, extra, width, k);
  }

 private:
  static float sum_of_squares(const float* v, int64_t blocks) {
    VecF even = {}, odd = {};
    for (int64_t block = 0; block < blocks; ++block, v += 2 * kConvLanes) {
      const VecF a = load(v), b = load(v + kConvLanes);
      even += a * a, odd += b * b;
    }
    return sum_of_lanes(even + odd);
  }
};

#endif

}  // namespace hgfast::cpu::HGFAST_ISA
