// The maximum of a plane and the first place where it is taken, in one pass over the plane, or over the two planes of a
// flip test while they are averaged.
#pragma once

#include <algorithm>
#include <limits>

#include "common/heatmaps.h"
#include "cpu/vecmath.h"

namespace hgfast::cpu::HGFAST_ISA {

// NaN never wins. A plane of nothing but NaN has value NaN; index is 0 then, and where the maximum is -inf.
template <class R>
struct Peak {
  R value;
  int64_t index;
};

// Blocks of a plane are compared with the best so far as a whole; only the winner is searched for the place.
template <class R>
class PeakSearch {
 public:
  using V = Vec<R>;
  static V none() { return broadcast<V>(kLowest); }

  // `values` holds the larger ones, lane by lane, of a block that begins at `begin`; blocks come in order.
  void offer_block(V values, int64_t begin) {
    if (!any_greater(values, best_)) return;
    best_ = broadcast<V>(max_lane(values));
    block_ = begin;
  }
  void offer(R value, int64_t index) {
    if (!(value > best_[0])) return;
    best_ = broadcast<V>(value);
    block_ = index;
  }

  Peak<R> finish(const R* plane, int64_t size) const {
    const R best = best_[0];
    int64_t i = std::max<int64_t>(block_, 0);
    if (block_ >= 0) {
      while (plane[i] != best) ++i;
      return {best, i};
    }
    for (; i < size; ++i)
      if (plane[i] == kLowest) return {kLowest, 0};
    return {std::numeric_limits<R>::quiet_NaN(), 0};
  }

 private:
  static constexpr R kLowest = -std::numeric_limits<R>::infinity();
  V best_ = none();
  int64_t block_ = -1;
};

template <class R>
Peak<R> find_peak(const R* plane, int64_t size) {
  constexpr int64_t kStep = kLanes<R>, kBlock = 8 * kStep;
  PeakSearch<R> search;
  int64_t i = 0;
  for (; i + kBlock <= size; i += kBlock) {
    Vec<R> m[4];
    for (int j = 0; j < 4; ++j) m[j] = max_of(load(plane + i + j * kStep), search.none());
    for (int j = 0; j < 4; ++j) m[j] = max_of(load(plane + i + (4 + j) * kStep), m[j]);
    search.offer_block(max_of(max_of(m[0], m[1]), max_of(m[2], m[3])), i);
  }
  for (; i < size; ++i) search.offer(plane[i], i);
  return search.finish(plane, size);
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
    PeakSearch<R> search;
    for (int64_t y = 0; y < h; ++y) merge_row(y, out + y * w, search);
    return search.finish(out, w * h);
  }

 private:
  R cap(R v) const { return v > limit ? limit : v; }

  void merge_row(int64_t y, R* out, PeakSearch<R>& search) const {
    constexpr int64_t kStep = kLanes<T>;
    const T *row_a = a + y * w, *row_b = b + y * w;
    const T *ahead_a = row_a + rows_ahead() * w, *ahead_b = row_ahead(y);
    const V cap = broadcast<V>(limit);
    // Lanes backwards; the shift moves them on by one and takes the first from the vector before.
    V before = broadcast<V>(to_float(row_b[w - 1])), best = PeakSearch<R>::none();
    int64_t x = 0;
    for (; x + kStep <= w; x += kStep) {
      // here, not in a function of their own: GCC removes the call of one that does nothing else
      __builtin_prefetch(ahead_a + x);
      __builtin_prefetch(ahead_b + x);
      const V b_lanes = load(row_b + (w - x - kStep));
      const V mean = (load(row_a + x) + (shift ? reverse_after(before, b_lanes) : reverse(b_lanes))) * R(0.5);
      const V capped = mean > cap ? cap : mean;
      store(out + x, capped);
      best = max_of(capped, best);
      before = b_lanes;
    }
    search.offer_block(best, y * w);
    for (; x < w; ++x) {
      out[x] = this->cap((to_float(row_a[x]) + to_float(row_b[FlippedMaps::column(x, w, shift)])) * R(0.5));
      search.offer(out[x], y * w + x);
    }
  }

  // The row of b, or of next_b, that comes kAhead bytes after row y.
  const T* row_ahead(int64_t y) const {
    const int64_t target = y + rows_ahead();
    return target < h ? b + target * w : next_b + std::min(target - h, h - 1) * w;
  }
  int64_t rows_ahead() const { return kAhead / static_cast<int64_t>(w * sizeof(T)) + 1; }

  static constexpr int64_t kAhead = 8192;
};

}  // namespace hgfast::cpu::HGFAST_ISA
