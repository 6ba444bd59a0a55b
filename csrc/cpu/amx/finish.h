// What follows the sums of two tiles of pixels: bias, residual, ReLU, bfloat16; row by row, so that it can be done
// between the multiplications of the next ones.
#pragma once

#include "cpu/amx/layout.h"
#include "cpu/conv_epilogue.h"

namespace hgfast::cpu::HGFAST_ISA {

// The output of two tiles: pixels pixel[i] + begin[i] .. pixel[i] + end[i], channels k ..
struct TileOutput {
  int64_t pixel[2] = {}, k = 0;
  int begin[2] = {}, end[2] = {};
};

class Finisher {
 public:
  static constexpr int kRows = 2 * kTileRows;

  Finisher(const Conv& conv, const ConvEpilogue<BFloat16>& epilogue)
      : conv_(conv), epilogue_(epilogue), channels_(conv.shape.k), least_(conv.relu ? 0 : -kInfinity) {
    if (conv.bias) return;
    for (float& zero : no_bias_) zero = 0;
  }

  // The output of the sums that are being made.
  void expect(const TileOutput& output) { next_ = output; }
  // They are made.
  void start(const float* sums) { output_ = next_, sums_ = sums, row_ = 0; }

  [[gnu::always_inline]] void rows(int count) {
    if (row_ == kRows) return;
    const int end = std::min(row_ + count, kRows);
    if (kVecBytes != kTileBytes || channels_ - output_.k < kGroup)
      for (; row_ < end; ++row_) any_row(row_);
    else if (conv_.y2)
      conv_.residual ? whole_rows<true, true>(end) : whole_rows<false, true>(end);
    else
      conv_.residual ? whole_rows<true, false>(end) : whole_rows<false, false>(end);
  }
  void all() { rows(kRows); }

 private:
  static constexpr float kInfinity = __builtin_inff();

  void any_row(int row) const {
    const int tile = row / kTileRows, r = row % kTileRows;
    if (r < output_.begin[tile] || r >= output_.end[tile]) return;
    const float* sums = sums_ + row * kGroup;
    const int64_t pixel = output_.pixel[tile] + r;
    if (channels_ - output_.k >= kGroup) return vectors<kGroup / kConvLanes>(sums, pixel, output_.k);
    for (int64_t k = output_.k; k < channels_; k += kConvLanes, sums += kConvLanes) vectors<1>(sums, pixel, k);
  }

  template <int kVecs>
  void vectors(const float* sums, int64_t pixel, int64_t k) const {
    VecF v[1][kVecs];
    for (int j = 0; j < kVecs; ++j) v[0][j] = load(sums + j * kConvLanes);
    epilogue_.finish(v, 1, pixel, k);
  }

  // All channels of the group.
  template <bool kResidual, bool kSecond>
  [[gnu::always_inline]] void whole_rows(int end) {
    const float* bias = conv_.bias ? conv_.bias + output_.k : no_bias_;
    const VecF bias0 = load(bias), bias1 = load(bias + kConvLanes);
    for (; row_ < end; ++row_) {
      const int tile = row_ / kTileRows, r = row_ % kTileRows;
      if (!conv_.upsample_to) fetch<kResidual, kSecond>((next_.pixel[tile] + r) * channels_ + next_.k);
      if (r < output_.begin[tile] || r >= output_.end[tile]) continue;
      const int64_t offset = (output_.pixel[tile] + r) * channels_ + output_.k;
      VecF a = load(sums_ + row_ * kGroup) + bias0, b = load(sums_ + row_ * kGroup + kConvLanes) + bias1;
      if constexpr (kResidual) {
        const auto* residual = static_cast<const BFloat16*>(conv_.residual) + offset;
        a += load(residual), b += load(residual + kConvLanes);
      }
      a = least_ > a ? VecF{} + least_ : a, b = least_ > b ? VecF{} + least_ : b;  // keeps NaN
      conv_.upsample_to ? merge<kSecond>(output_.pixel[tile] + r, a, b) : write<kSecond>(offset, a, b);
    }
  }

  // To the up to four pixels above this one, which the calls meet in order.
  template <bool kSecond>
  void merge(int64_t pixel, VecF a, VecF b) {
    const ConvShape& s = conv_.shape;
    if (pixel != at_.pixel + 1 || at_.j + 1 == s.q)
      at_ = {pixel, pixel / s.q / s.p, pixel / s.q % s.p, pixel % s.q};
    else
      at_.pixel = pixel, ++at_.j;
    const int64_t first = ((at_.image * s.out_h + 2 * at_.i) * s.out_w + 2 * at_.j) * channels_ + output_.k;
    const int64_t right = 2 * at_.j + 1 < s.out_w ? channels_ : 0, down = s.out_w * channels_;
    for (int64_t row = first; row <= first + (2 * at_.i + 1 < s.out_h ? down : 0); row += down)
      for (int64_t offset = row; offset <= row + right; offset += channels_) {
        const auto* to = static_cast<const BFloat16*>(conv_.upsample_to) + offset;
        write<kSecond>(offset, a + load(to), b + load(to + kConvLanes));
      }
  }

  template <bool kSecond>
  [[gnu::always_inline]] void write(int64_t offset, VecF a, VecF b) const {
    store_group(static_cast<BFloat16*>(conv_.y) + offset, a, b);
    if constexpr (kSecond)
      store_group(static_cast<BFloat16*>(conv_.y2) + offset, second(a, output_.k), second(b, output_.k + kConvLanes));
  }

  VecF second(VecF v, int64_t k) const { return relu(load(conv_.scale2 + k) * v + load(conv_.shift2 + k)); }

  template <bool kResidual, bool kSecond>
  [[gnu::always_inline]] void fetch(int64_t offset) const {
    __builtin_prefetch(static_cast<BFloat16*>(conv_.y) + offset, 1, 3);
    if constexpr (kResidual) __builtin_prefetch(static_cast<const BFloat16*>(conv_.residual) + offset, 0, 3);
    if constexpr (kSecond) __builtin_prefetch(static_cast<BFloat16*>(conv_.y2) + offset, 1, 3);
  }

  // kGroup numbers.
  [[gnu::always_inline]] static void store_group(BFloat16* to, VecF a, VecF b) {
#if defined(__AVX512BF16__)
    const __m512bh both = _mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
    std::memcpy(to, &both, sizeof(both));
#else
    store(to, a), store(to + kConvLanes, b);
#endif
  }

  const Conv& conv_;
  const ConvEpilogue<BFloat16>& epilogue_;
  const int64_t channels_;
  const float least_;
  float no_bias_[kGroup];
  TileOutput output_, next_;
  struct {
    int64_t pixel = -2, image = 0, i = 0, j = 0;
  } at_;  // of the merge
  const float* sums_ = nullptr;
  int row_ = kRows;
};

}  // namespace hgfast::cpu::HGFAST_ISA
