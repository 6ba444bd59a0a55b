// The maximum of a plane and the first place where it is taken, in one pass.
#pragma once

#include <limits>

#include "cpu/vecmath.h"

namespace hgfast::cpu::HGFAST_ISA {

// NaN never wins. A plane of nothing but NaN has value NaN; index is 0 then, and where the maximum is -inf.
template <class R>
struct Peak {
  R value;
  int64_t index;
};

// Blocks are compared with the best so far as a whole; only the block that won in the end is searched for the place.
template <class R>
Peak<R> find_peak(const R* plane, int64_t size) {
  using V = Vec<R>;
  constexpr R kLowest = -std::numeric_limits<R>::infinity();
  constexpr int64_t kStep = kLanes<R>, kBlock = 8 * kStep;
  R best = kLowest;
  int64_t block = -1, i = 0;
  for (; i + kBlock <= size; i += kBlock) {
    const V none = broadcast<V>(kLowest);
    V m[4] = {max_of(load(plane + i), none), max_of(load(plane + i + kStep), none),
              max_of(load(plane + i + 2 * kStep), none), max_of(load(plane + i + 3 * kStep), none)};
    for (int j = 0; j < 4; ++j) m[j] = max_of(load(plane + i + (4 + j) * kStep), m[j]);
    const V all = max_of(max_of(m[0], m[1]), max_of(m[2], m[3]));
    if (any_greater(all, broadcast<V>(best))) {
      best = max_lane(all);
      block = i;
    }
  }
  for (; i < size; ++i)
    if (plane[i] > best) {
      best = plane[i];
      block = i;
    }
  if (block >= 0) {
    while (plane[block] != best) ++block;
    return {best, block};
  }
  for (i = 0; i < size; ++i)
    if (plane[i] == kLowest) return {kLowest, 0};
  return {std::numeric_limits<R>::quiet_NaN(), 0};
}

}  // namespace hgfast::cpu::HGFAST_ISA
