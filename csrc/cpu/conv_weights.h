// Convolution weights as torch has them, read in blocks of vectors of output channels.
#pragma once

#include "cpu/conv_epilogue.h"
#include "cpu/conv_runs.h"

namespace hgfast::cpu::HGFAST_ISA {

// Element (k, c, tap) lies at data[k * k_step + c * c_step + tap * tap_step]; one of the steps is 1. With `turned`, tap
// t is asked for and tap taps - 1 - t is given: the rotated filter of the input gradient, whose k and c change places
// too.
struct WeightView {
  const float* data;
  int64_t k_step, c_step, tap_step;
  bool turned = false;

  // (k, c, r, r), dense in OIHW or (channels_last) OHWI order.
  static WeightView dense(const float* data, int64_t c, int64_t taps, bool channels_last) {
    return channels_last ? WeightView{data, taps * c, 1, c} : WeightView{data, taps * c, taps, 1};
  }
  WeightView transposed() const { return {data, c_step, k_step, tap_step, !turned}; }
};

// out(index, vector of `lanes` channels k) for each index < count of vectors data[k * k_step + index].
template <class F>
inline void turn_run(const float* data, int64_t k_step, int64_t lanes, int64_t count, const F& out) {
  for (int64_t first = 0; first < count; first += kConvLanes) {
    VecF rows[kConvLanes];
    const int64_t width = std::min<int64_t>(kConvLanes, count - first);
    for (int64_t k = 0; k < kConvLanes; ++k)
      rows[k] = k < lanes ? load_lanes(data + k * k_step + first, width) : VecF{};
    transpose(rows);
    for (int64_t i = 0; i < width; ++i) out(first + i, rows[i]);
  }
}

// to[c * taps + tap] = channels k .. k + lanes of (c0 + c, tap), for c < count; zero beyond `lanes`.
inline void load_weights(const WeightView& from, int64_t k, int64_t lanes, int64_t c0, int64_t count, int64_t taps,
                         VecF* to) {
  const float* data = from.data + k * from.k_step + c0 * from.c_step;
  const auto place = [&](int64_t tap) { return from.turned ? taps - 1 - tap : tap; };
  if (from.k_step == 1) {
    for (int64_t c = 0; c < count; ++c)
      for (int64_t tap = 0; tap < taps; ++tap)
        to[c * taps + place(tap)] = load_lanes(data + c * from.c_step + tap * from.tap_step, lanes);
  } else if (from.c_step == 1) {
    for (int64_t tap = 0; tap < taps; ++tap)
      turn_run(data + tap * from.tap_step, from.k_step, lanes, count,
               [&](int64_t c, VecF v) { to[c * taps + place(tap)] = v; });
  } else if (from.c_step == taps && !from.turned) {
    turn_run(data, from.k_step, lanes, count * taps, [&](int64_t index, VecF v) { to[index] = v; });
  } else if (from.k_step == 9 && taps == 9 && lanes == kConvLanes) {
    VecF runs[9];
    for (int64_t c = 0; c < count; ++c) {
      Runs<9>::load_taps(data + c * from.c_step, runs);
      for (int64_t tap = 0; tap < 9; ++tap) to[c * 9 + place(tap)] = runs[tap];
    }
  } else {
    for (int64_t c = 0; c < count; ++c)
      turn_run(data + c * from.c_step, from.k_step, lanes, taps,
               [&](int64_t tap, VecF v) { to[c * taps + place(tap)] = v; });
  }
}

// Asks for the cache lines of channels k .. k + lanes of c0 .. c0 + count: runs far apart, which no hardware prefetcher
// follows.
inline void prefetch_weights(const WeightView& from, int64_t k, int64_t lanes, int64_t c0, int64_t count,
                             int64_t taps) {
  constexpr int64_t kLine = 64 / sizeof(float);
  const float* data = from.data + k * from.k_step + c0 * from.c_step;
  const auto run = [](const float* first, int64_t floats) {
    for (int64_t i = 0; i < floats + kLine - 1; i += kLine) __builtin_prefetch(first + std::min(i, floats - 1), 0, 2);
  };
  const bool taps_inside = from.tap_step == 1;
  const int64_t inner = taps_inside ? taps : 1;
  for (int64_t tap = 0; tap < taps; tap += inner)
    if (from.c_step == inner)
      for (int64_t i = 0; i < lanes; ++i) run(data + i * from.k_step + tap * from.tap_step, count * inner);
    else
      for (int64_t c = 0; c < count; ++c) run(data + c * from.c_step + tap * from.tap_step, lanes * inner);
}

}  // namespace hgfast::cpu::HGFAST_ISA
