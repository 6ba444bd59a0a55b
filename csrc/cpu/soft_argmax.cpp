// Soft-argmax on the CPU: the maximum in one pass, the weighted sums (or the gradient) in a second one over the cached
// plane.
//
// A value's weight is exp((value - maximum) / temperature): 1 at the maximum, even an infinite one, 0 for NaN.
// Positions are summed relative to the maximum, so that a sharp peak far from the origin loses no digits. Bytes: one
// read of the maps (backward: and one write). Arithmetic: about 20 operations a value.
#include "common/ops.h"
#include "cpu/heatmap_maps.h"
#include "cpu/types.h"
#include "cpu/vecexp.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

template <class R>
Vec<R> lane_numbers() {
  Vec<R> v;
  for (int i = 0; i < kLanes<R>; ++i) v[i] = R(i);
  return v;
}

template <class R>
R sum_lanes(Vec<R> v) {
  R sum = 0;
  for (int i = 0; i < kLanes<R>; ++i) sum += v[i];
  return sum;
}

// `count` values, and NaN in the lanes beyond them.
template <class R>
Vec<R> load_some(const R* p, int64_t count) {
  if (count >= kLanes<R>) return load(p);
  Vec<R> v = broadcast<Vec<R>>(std::numeric_limits<R>::quiet_NaN());
  for (int i = 0; i < count; ++i) v[i] = p[i];
  return v;
}

// exp((value - maximum) / temperature) as a power of two, in one multiply-add: for a small product maximum * scale,
// whose rounding error is a factor that all weights have in common.
template <class R>
struct NearWeight {
  Vec<R> offset;
  R scale;

  Vec<R> operator()(Vec<R> values) const { return exp2_nonpositive(values * scale - offset); }
};

// The same for any finite maximum.
template <class R>
struct FarWeight {
  Vec<R> maximum;
  R scale;

  Vec<R> operator()(Vec<R> values) const { return exp2_nonpositive((values - maximum) * scale); }
};

// Beside an infinite maximum, or at a temperature too small for its inverse, only the maximum itself has weight.
template <class R>
struct MaximumOnly {
  Vec<R> maximum;

  Vec<R> operator()(Vec<R> values) const { return values == maximum ? broadcast<Vec<R>>(R(1)) : Vec<R>{}; }
};

template <class R, class F>
void with_weights(R maximum, double temperature, const F& run) {
  const Vec<R> top = broadcast<Vec<R>>(maximum);
  const R scale = R(1 / (temperature * M_LN2));
  if (!std::isfinite(maximum) || !std::isfinite(scale))
    run(MaximumOnly<R>{top});
  else if (std::abs(maximum * scale) <= 32)
    run(NearWeight<R>{top * scale, scale});
  else
    run(FarWeight<R>{top, scale});
}

// Sums over a window: of the weights, and of the weights times the distances from the maximum at (px, py).
template <class R>
struct Moments {
  R total, x, y;
};

// The sums over kVecs vectors' columns from x on (a single one may be shorter: `count` columns). The same place of the
// next plane is asked for meanwhile: the search for its maximum would otherwise wait for memory, with nothing to
// compute.
template <int kVecs, class R, class Weight>
void sum_strip(const R* plane, int64_t next_plane, int w, int x, int count, SoftWindow window, int px, int py,
               const Weight& weight_of, Vec<R> (&sums)[3]) {
  constexpr int kStep = kLanes<R>;
  Vec<R> columns[kVecs] = {}, sum_y{};
  for (int y = window.y0; y < window.y1; ++y) {
    const R* row = plane + int64_t{y} * w + x;
    Vec<R> row_total{};
    for (int v = 0; v < kVecs; ++v) {
      __builtin_prefetch(row + v * kStep + next_plane);
      const Vec<R> weight = weight_of(kVecs > 1 ? load(row + v * kStep) : load_some(row, count));
      columns[v] += weight;
      row_total += weight;
    }
    sum_y += row_total * R(y - py);
  }
  sums[2] += sum_y;
  for (int v = 0; v < kVecs; ++v) {
    sums[0] += columns[v];
    sums[1] += columns[v] * (lane_numbers<R>() + R(x + v * kStep - px));
  }
}

template <class R, class Weight>
Moments<R> sum_window(const R* plane, int64_t next_plane, int w, SoftWindow window, int px, int py,
                      const Weight& weight_of) {
  constexpr int kStep = kLanes<R>, kVecs = 4;
  Vec<R> sums[3] = {};
  int x = window.x0;
  for (; x + kVecs * kStep <= window.x1; x += kVecs * kStep)
    sum_strip<kVecs>(plane, next_plane, w, x, kVecs * kStep, window, px, py, weight_of, sums);
  for (; x < window.x1; x += kStep)
    sum_strip<1>(plane, next_plane, w, x, std::min(kStep, window.x1 - x), window, px, py, weight_of, sums);
  return {sum_lanes<R>(sums[0]), sum_lanes<R>(sums[1]), sum_lanes<R>(sums[2])};
}

template <class R>
void forward_plane(const SoftArgmax& p, PlaneWithPeak<R> plane, int64_t index) {
  const int w = static_cast<int>(p.shape.w), h = static_cast<int>(p.shape.h);
  const int px = static_cast<int>(plane.peak.index % w), py = static_cast<int>(plane.peak.index / w);
  const SoftWindow window = soft_window(p.window, px, py, w, h);
  Moments<R> sums{};
  if (plane.peak.value == plane.peak.value)  // nothing but NaN has no weight at all
    with_weights(plane.peak.value, p.temperature, [&](const auto& weight_of) {
      sums = sum_window(plane.values, int64_t{w} * h, w, window, px, py, weight_of);
    });
  R* keypoint = static_cast<R*>(p.keypoints) + 2 * index;
  keypoint[0] = sums.total > 0 ? px + sums.x / sums.total : R(-1);
  keypoint[1] = sums.total > 0 ? py + sums.y / sums.total : R(-1);
  static_cast<R*>(p.scores)[index] = plane.peak.value;
  static_cast<R*>(p.totals)[index] = sums.total;
}

// d keypoint / d value = weight / (total * temperature) * (position - keypoint); the score's gradient goes to the
// maximum.
template <class T, class R>
void backward_plane(const SoftArgmaxBackward& p, PlaneWithPeak<R> plane, int64_t index, T* grad) {
  const int w = static_cast<int>(p.shape.w), h = static_cast<int>(p.shape.h);
  const R *keypoint = static_cast<const R*>(p.keypoints) + 2 * index,
          *grad_keypoint = static_cast<const R*>(p.grad_keypoints) + 2 * index;
  const R total = static_cast<const R*>(p.totals)[index];
  if (p.window >= 0 || !(total > 0)) std::memset(static_cast<void*>(grad), 0, w * h * sizeof(T));
  if (!(total > 0)) return;  // nothing but NaN
  const int px = static_cast<int>(plane.peak.index % w), py = static_cast<int>(plane.peak.index / w);
  const SoftWindow window = soft_window(p.window, px, py, w, h);
  const R scale = R(1 / (p.temperature * total));
  const Vec<R> lanes = lane_numbers<R>();
  with_weights(plane.peak.value, p.temperature, [&](const auto& weight_of) {
    for (int y = window.y0; y < window.y1; ++y) {
      const int64_t row = int64_t{y} * w;
      const R along_y = grad_keypoint[1] * (y - keypoint[1]) - grad_keypoint[0] * keypoint[0];
      for (int x = window.x0; x < window.x1; x += kLanes<R>) {
        const int count = std::min<int>(kLanes<R>, window.x1 - x);
        const Vec<R> weight = weight_of(load_some(plane.values + row + x, count));
        const Vec<R> value = weight * scale * ((lanes + R(x)) * grad_keypoint[0] + along_y);
        if (count == kLanes<R>)
          store(grad + row + x, value);
        else
          for (int i = 0; i < count; ++i) store_scalar(grad + row + x + i, value[i]);
      }
    }
  });
  const int64_t peak = plane.peak.index;
  store_scalar(grad + peak, to_float(grad[peak]) + static_cast<const R*>(p.grad_scores)[index]);
}

// f(plane, index, tag of T) for every plane, on `exec` threads.
template <class Problem, class F>
void for_each_plane(const Problem& p, const char* op, Exec exec, const F& f) {
  dispatch(p.shape.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using R = typename Compute<T>::type;
    constexpr R kNoLimit = std::numeric_limits<R>::infinity();
    for_plane_ranges<T>(p.shape, p.heatmaps, kNoFlip, kNoLimit, exec, [&](auto& planes, int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) f(planes.plane(index), index, tag);
    });
  });
}

}  // namespace

void soft_argmax(const SoftArgmax& p, Exec exec) {
  for_each_plane(p, "soft_argmax", exec, [&](auto plane, int64_t index, auto) { forward_plane(p, plane, index); });
}

void soft_argmax_backward(const SoftArgmaxBackward& p, Exec exec) {
  for_each_plane(p, "soft_argmax_backward", exec, [&](auto plane, int64_t index, auto tag) {
    using T = typename decltype(tag)::type;
    backward_plane(p, plane, index, static_cast<T*>(p.grad) + index * p.shape.h * p.shape.w);
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
