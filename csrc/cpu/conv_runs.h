// Runs of kTaps numbers side by side, one run for each lane of a vector: filters in OIHW order, with channels as lanes.
//
// Lane l of vector j is number j * lanes + l. As kTaps and the lanes have no common factor, the numbers of one tap lie
// in different lanes, each in some vector: the columns of the vectors turned against each other, column l by l / lanes
// (mod kTaps), bring a tap into one vector, whose lanes are then put in order. Turning goes by the binary digits of the
// distance: for 9 taps 36 choices and 9 permutations, where transposing took 64 permutations for 16 lanes.
#pragma once

#include "cpu/conv_epilogue.h"
#include "cpu/vecmath.h"

namespace hgfast::cpu::HGFAST_ISA {

// The number whose product with `value` leaves a remainder of 1.
constexpr int inverse_modulo(int value, int modulus) {
  for (int i = 0; i < modulus; ++i)
    if (i * value % modulus == 1 % modulus) return i;
  return 0;
}

template <int kTaps>
class Runs {
 public:
  // to[tap] = number `tap` of each run.
  static void load_taps(const float* data, VecF* to) {
    VecF rows[kTaps];
#pragma GCC unroll 16
    for (int j = 0; j < kTaps; ++j) rows[j] = load(data + j * kConvLanes);
    turn<1, kTaps - 1>(rows);
    order(rows, to, std::make_integer_sequence<int, kTaps>{});
  }

  // The other way.
  static void store_taps(const VecF* taps, float* data) {
    VecF rows[kTaps];
    reorder(taps, rows, std::make_integer_sequence<int, kTaps>{});
    turn<1, 1>(rows);
#pragma GCC unroll 16
    for (int j = 0; j < kTaps; ++j) store(data + j * kConvLanes, rows[j]);
  }

 private:
  static_assert(kTaps % 2 == 1, "no common factor with the lanes");
  static constexpr int kTurn = inverse_modulo(kConvLanes % kTaps, kTaps);
  static constexpr int kBack = inverse_modulo(kTaps % kConvLanes, kConvLanes);

  // Each column by its distance times kBy; what the digit kDigit and those above it say.
  template <int kDigit, int kBy>
  static void turn(VecF* rows) {
    if constexpr (kDigit < kTaps) {
      VecF next[kTaps];
#pragma GCC unroll 16
      for (int i = 0; i < kTaps; ++i)
        next[i] = choose<kDigit>(rows[i], rows[(i + kDigit * kBy) % kTaps], LaneNumbers<VecF>{});
#pragma GCC unroll 16
      for (int i = 0; i < kTaps; ++i) rows[i] = next[i];
      turn<2 * kDigit, kBy>(rows);
    }
  }

  template <int kDigit, int... kLane>
  static VecF choose(VecF stays, VecF comes, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(stays, comes, ((kLane * kTurn % kTaps) & kDigit ? kLane + kConvLanes : kLane)...);
  }

  template <int... kTap>
  static void order(const VecF* rows, VecF* to, std::integer_sequence<int, kTap...>) {
    ((to[kTap] = ordered<kTap>(rows[kTap * kTurn % kTaps], LaneNumbers<VecF>{})), ...);
  }
  template <int kTap, int... kLane>
  static VecF ordered(VecF v, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(v, v, ((kLane * kTaps + kTap) % kConvLanes)...);
  }

  template <int... kTap>
  static void reorder(const VecF* taps, VecF* rows, std::integer_sequence<int, kTap...>) {
    ((rows[kTap * kTurn % kTaps] = reordered<kTap>(taps[kTap], LaneNumbers<VecF>{})), ...);
  }
  template <int kTap, int... kLane>
  static VecF reordered(VecF v, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(v, v, ((kLane + kTaps * kConvLanes - kTap) * kBack % kConvLanes)...);
  }
};

}  // namespace hgfast::cpu::HGFAST_ISA
