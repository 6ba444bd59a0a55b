// The maximum of a plane and the first place where it is taken, in one pass over the plane, or over the two planes of a
// flip test while they are averaged.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/heatmaps.h"
#include "cpu/vecmath.h"

namespace hgfast::cpu::HGFAST_ISA {

constexpr int64_t kAhead = 8192;  // bytes

// NaN never wins. A plane of nothing but NaN has value NaN; index is 0 then, and where the maximum is -inf.
template <class R>
struct Peak {
  R value;
  int64_t index;
};

// The largest value, and how to ask for it: `none` loses to everything, max_of(v, best) passes over v's NaN.
template <class R>
Vec<R> none() {
  return broadcast<Vec<R>>(-std::numeric_limits<R>::infinity());
}

// Where `best`, the largest value but for NaN, is taken first, from `begin` on.
template <class R>
Peak<R> locate(const R* plane, int64_t size, R best, int64_t begin = 0) {
  constexpr int64_t kStep = kLanes<R>, kBlock = 4 * kStep;
  const Vec<R> wanted = broadcast<Vec<R>>(best);
  const auto at_least = [&](int64_t i) { return lanes_at_least(load(plane + i), wanted); };
  int64_t i = begin;
  for (; i + kBlock <= size; i += kBlock) {
    const Vec<R> left = max_of(load(plane + i), max_of(load(plane + i + kStep), none<R>()));
    const Vec<R> right = max_of(load(plane + i + 2 * kStep), max_of(load(plane + i + 3 * kStep), none<R>()));
    if (lanes_at_least(max_of(left, right), wanted)) break;
  }
  uint32_t bits = 0;
  while (i + kStep <= size && !(bits = at_least(i))) i += kStep;
  if (bits != 0) return {best, i + __builtin_ctz(bits)};
  while (i < size && !(plane[i] >= best)) ++i;
  if (i < size) return {best, i};
  return {std::numeric_limits<R>::quiet_NaN(), 0};  // not even -inf: nothing but NaN
}

// Blocks' maxima are kept, so that the place is searched in one block only. What lies kAhead bytes further on, mostly
// in the next plane, is asked for, since hardware prefetchers stop at pages and during the search (measured: 1.3 to 1.0
// times the time of one read).
template <class R>
Peak<R> find_peak(const R* plane, int64_t size) {
  constexpr int64_t kStep = kLanes<R>, kMaxBlocks = 32;
  Vec<R> maxima[kMaxBlocks], all = none<R>();
  const int64_t block = (size / (kMaxBlocks * 4 * kStep) + 1) * 4 * kStep;
  int64_t blocks = 0, i = 0;
  for (; i + block <= size; i += block) {
    Vec<R> m[4] = {none<R>(), none<R>(), none<R>(), none<R>()};
    for (int64_t v = i; v < i + block; v += 4 * kStep)
      for (int j = 0; j < 4; ++j) {
        __builtin_prefetch(plane + v + j * kStep + kAhead / static_cast<int64_t>(sizeof(R)));
        m[j] = max_of(load(plane + v + j * kStep), m[j]);
      }
    maxima[blocks] = max_of(max_of(m[0], m[1]), max_of(m[2], m[3]));
    all = max_of(maxima[blocks++], all);
  }
  for (; i + kStep <= size; i += kStep) all = max_of(load(plane + i), all);
  R best = max_lane(all);
  for (; i < size; ++i) best = plane[i] > best ? plane[i] : best;
  int64_t place = 0;
  while (place < blocks && !lanes_at_least(maxima[place], broadcast<Vec<R>>(best))) ++place;
  return locate(plane, size, best, place * block);
}

// One plane of a flip test: out = (a + mirrored b) / 2, at most `limit`. The rows of b are read backwards, which no
// prefetcher expects, so those kAhead bytes further on are asked for (measured: half the time); after b comes next_b.
template <class T>
struct FlippedPlane {
  using R = typename Compute<T>::type;
  using V = Vec<R>;
  const T* a;
  const T* b;
  const T* next_b;
  int64_t w, h;
  int shift;
  R limit;

  Peak<R> merge(R* out) const {
    V best = none<R>();
    R best_of_tails = none<R>()[0];
    for (int64_t y = 0; y < h; ++y) merge_row(y, out + y * w, best, best_of_tails);
    const R largest = max_lane(best);
    return locate(out, w * h, largest > best_of_tails ? largest : best_of_tails);
  }

 private:
  void merge_row(int64_t y, R* out, V& best, R& best_of_tails) const {
    constexpr int64_t kStep = kLanes<T>;
    const T *row_a = a + y * w, *row_b = b + y * w;
    const T *ahead_a = row_a + rows_ahead() * w, *ahead_b = row_ahead(y);
    const V cap = broadcast<V>(limit);
    // Lanes backwards; the shift moves them on by one and takes the first from the vector before.
    V before = broadcast<V>(to_float(row_b[w - 1])), largest = best;
    int64_t x = 0;
    for (; x + kStep <= w; x += kStep) {
      // here, not in a function of their own: GCC removes the call of one that does nothing else
      __builtin_prefetch(ahead_a + x);
      __builtin_prefetch(ahead_b + x);
      const V b_lanes = load(row_b + (w - x - kStep));
      const V mean = (load(row_a + x) + (shift ? reverse_after(before, b_lanes) : reverse(b_lanes))) * R(0.5);
      const V capped = mean > cap ? cap : mean;
      store(out + x, capped);
      largest = max_of(capped, largest);
      before = b_lanes;
    }
    best = largest;
    for (; x < w; ++x) {
      const R mean = (to_float(row_a[x]) + to_float(row_b[FlippedMaps::column(x, w, shift)])) * R(0.5);
      out[x] = mean > limit ? limit : mean;
      best_of_tails = out[x] > best_of_tails ? out[x] : best_of_tails;
    }
  }

  // The row of b, or of next_b, that comes kAhead bytes after row y.
  const T* row_ahead(int64_t y) const {
    const int64_t target = y + rows_ahead();
    return target < h ? b + target * w : next_b + std::min(target - h, h - 1) * w;
  }
  int64_t rows_ahead() const { return kAhead / static_cast<int64_t>(w * sizeof(T)) + 1; }
};

}  // namespace hgfast::cpu::HGFAST_ISA
