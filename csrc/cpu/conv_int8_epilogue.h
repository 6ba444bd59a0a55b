// What follows the sums of a convolution of codes (common/conv_int8.h), a vector of channels of a pixel at a time:
// scale and bias, residual, ReLU, the merge with the upsampled-to tensor, and the outputs as numbers and as codes. Sums
// come from a corner of L1 where the products have just left them; 1 to 4 bytes for each input and output of the call
// go through the caches. (Inlined into the GEMM's 28 forms this would be megabytes of code.)
#pragma once

#include "cpu/codes.h"

namespace hgfast::cpu::HGFAST_ISA {

// T: what numbers are stored in.
template <class T>
class Int8Epilogue {
 public:
  explicit Int8Epilogue(const ConvInt8& conv)
      : conv_(conv),
        s_(conv.shape),
        residual_(conv.residual),
        upsample_to_(conv.upsample_to),
        y_(conv.y),
        y2_(conv.y2) {}

  // sums[r][0 .. width): for channels k .. of the r-th of `count` consecutive pixels of the result from number `pixel`.
  void finish(const float* sums, int width, int64_t count, int64_t pixel, int64_t k) const {
    for (int64_t j = 0; j < width && k + j < s_.k; j += kConvLanes)
      s_.k - k - j >= kConvLanes ? vectors<true>(sums + j, width, count, pixel, k + j)
                                 : vectors<false>(sums + j, width, count, pixel, k + j);
  }

 private:
  struct Input {
    explicit Input(const CodedInput& input) : data(input.data), coded(input.coded != 0), decode(input.codes) {}

    [[gnu::always_inline]] VecF read(int64_t offset, int64_t lanes) const {
      if (coded) return decode(load_codes(static_cast<const uint8_t*>(data) + offset, lanes));
      return load_lanes(static_cast<const T*>(data) + offset, lanes);
    }
    explicit operator bool() const { return data != nullptr; }

    const void* data;
    bool coded;
    Decoder decode;
  };

  struct Output {
    explicit Output(const CodedOutput& output)
        : numbers(static_cast<T*>(output.numbers)), codes(output.codes), encode(output.of_codes) {}

    [[gnu::always_inline]] void write(VecF v, int64_t offset, int64_t lanes) const {
      if (numbers) store_lanes(numbers + offset, v, lanes);
      if (codes) store_codes(codes + offset, encode(v), lanes);
    }
    explicit operator bool() const { return numbers || codes; }

    T* numbers;
    uint8_t* codes;
    Encoder encode;
  };

  // One vector of channels; kFull: none of its lanes is beyond the last channel. All that the loop needs is copied
  // first: codes are written through uint8_t*, which the compiler takes for writing anywhere, to `this` too.
  template <bool kFull>
  void vectors(const float* sums, int width, int64_t count, int64_t pixel, int64_t k) const {
    const int64_t lanes = kFull ? kConvLanes : s_.k - k, step = s_.k;
    const VecF scale = load_lanes(conv_.scale + k, lanes), bias = load_lanes(conv_.bias + k, lanes);
    const Input residual = residual_, upsample_to = upsample_to_;
    const Output y = y_, y2 = y2_;
    const bool positive = conv_.relu, twice = static_cast<bool>(y2);
    VecF scale2 = {}, shift2 = {};
    if (twice) scale2 = load_lanes(conv_.scale2 + k, lanes), shift2 = load_lanes(conv_.shift2 + k, lanes);
    const auto write = [&](VecF v, int64_t offset) {
      y.write(v, offset, lanes);
      if (twice) y2.write(relu(scale2 * v + shift2), offset, lanes);
    };
    int64_t offset = pixel * step + k;
    for (int64_t r = 0; r < count; ++r, sums += width, offset += step) {
      VecF v = __builtin_convertvector(bit_cast<VecI>(load(sums)), VecF) * scale + bias;
      if (residual) v += residual.read(offset, lanes);
      if (positive) v = relu(v);
      if (!upsample_to)
        write(v, offset);
      else
        each_above(pixel + r, [&](int64_t above) {
          const int64_t at = above * step + k;
          write(v + upsample_to.read(at, lanes), at);
        });
    }
  }

  // The up to four pixels that a pixel of the result is merged into.
  template <class F>
  void each_above(int64_t pixel, const F& f) const {
    const int64_t row = pixel / s_.q, x = pixel % s_.q, image = row / s_.p, y = row % s_.p;
    for (int64_t down = 2 * y; down < std::min(2 * y + 2, s_.out_h); ++down)
      for (int64_t right = 2 * x; right < std::min(2 * x + 2, s_.out_w); ++right)
        f((image * s_.out_h + down) * s_.out_w + right);
  }

  const ConvInt8& conv_;
  const ConvShape& s_;
  const Input residual_, upsample_to_;
  const Output y_, y2_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
