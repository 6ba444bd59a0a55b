// Soft-argmax on the CPU: the maximum in one pass, the weighted sums (or the gradient) in a second one over the cached
// plane.
//
// A value's weight is exp((value - maximum) / temperature): 1 at the maximum, even an infinite one, 0 for NaN.
// Positions are summed relative to the maximum, so that a sharp peak far from the origin loses no digits. Bytes: one
// read of the maps (backward: and one write). Arithmetic: about 20 operations a value.
#include "common/ops.h"
#include "cpu/heatmap_maps.h"
#include "cpu/parallel.h"
#include "cpu/types.h"
#include "cpu/vecexp.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int64_t kBytesPerChunk = 128 * 1024;

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

template <class R>
Vec<R> softmax_weight(Vec<R> values, Vec<R> maximum, R inverse_temperature) {
  const Vec<R> below = values == maximum ? Vec<R>{} : (values - maximum) * inverse_temperature;
  return values == values ? exp_nonpositive(below) : Vec<R>{};
}

template <class R>
void forward_plane(const SoftArgmax& p, PlaneWithPeak<R> plane, int64_t index) {
  const int w = static_cast<int>(p.shape.w), h = static_cast<int>(p.shape.h);
  const int px = static_cast<int>(plane.peak.index % w), py = static_cast<int>(plane.peak.index / w);
  const SoftWindow window = soft_window(p.window, px, py, w, h);
  const R inverse_temperature = R(1 / p.temperature);
  const Vec<R> maximum = broadcast<Vec<R>>(plane.peak.value), lanes = lane_numbers<R>();
  Vec<R> total{}, sum_x{}, sum_y{};
  for (int y = window.y0; y < window.y1; ++y) {
    const R* row = plane.values + int64_t{y} * w;
    Vec<R> row_total{};
    for (int x = window.x0; x < window.x1; x += kLanes<R>) {
      const Vec<R> weight = softmax_weight<R>(load_some(row + x, window.x1 - x), maximum, inverse_temperature);
      row_total += weight;
      sum_x += weight * (lanes + R(x - px));
    }
    total += row_total;
    sum_y += row_total * R(y - py);
  }
  const R all = sum_lanes<R>(total);
  R* keypoint = static_cast<R*>(p.keypoints) + 2 * index;
  keypoint[0] = all > 0 ? px + sum_lanes<R>(sum_x) / all : R(-1);  // nothing but NaN has no weight
  keypoint[1] = all > 0 ? py + sum_lanes<R>(sum_y) / all : R(-1);
  static_cast<R*>(p.scores)[index] = plane.peak.value;
  static_cast<R*>(p.totals)[index] = all;
}

// d keypoint / d value = weight / (total * temperature) * (position - keypoint); the score's gradient goes to the
// maximum.
template <class T, class R>
void backward_plane(const SoftArgmaxBackward& p, PlaneWithPeak<R> plane, int64_t index, T* grad) {
  const int w = static_cast<int>(p.shape.w), h = static_cast<int>(p.shape.h);
  const R *keypoint = static_cast<const R*>(p.keypoints) + 2 * index,
          *grad_keypoint = static_cast<const R*>(p.grad_keypoints) + 2 * index;
  const R total = static_cast<const R*>(p.totals)[index];
  for (int64_t i = 0; i < int64_t{w} * h; ++i) store_scalar(grad + i, R(0));
  if (!(total > 0)) return;
  const int px = static_cast<int>(plane.peak.index % w), py = static_cast<int>(plane.peak.index / w);
  const SoftWindow window = soft_window(p.window, px, py, w, h);
  const R inverse_temperature = R(1 / p.temperature), scale = inverse_temperature / total;
  const Vec<R> maximum = broadcast<Vec<R>>(plane.peak.value), lanes = lane_numbers<R>();
  for (int y = window.y0; y < window.y1; ++y) {
    const int64_t row = int64_t{y} * w;
    const R along_y = grad_keypoint[1] * (y - keypoint[1]) - grad_keypoint[0] * keypoint[0];
    for (int x = window.x0; x < window.x1; x += kLanes<R>) {
      const int count = std::min<int>(kLanes<R>, window.x1 - x);
      const Vec<R> weight = softmax_weight<R>(load_some(plane.values + row + x, count), maximum, inverse_temperature);
      const Vec<R> value = weight * scale * ((lanes + R(x)) * grad_keypoint[0] + along_y);
      if (count == kLanes<R>)
        store(grad + row + x, value);
      else
        for (int i = 0; i < count; ++i) store_scalar(grad + row + x + i, value[i]);
    }
  }
  const int64_t peak = plane.peak.index;
  store_scalar(grad + peak, to_float(grad[peak]) + static_cast<const R*>(p.grad_scores)[index]);
}

// f(plane, index, tag of T) for every plane, on `exec` threads.
template <class Problem, class F>
void for_each_plane(const Problem& p, const char* op, Exec exec, const F& f) {
  dispatch(p.shape.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using R = typename Compute<T>::type;
    const FlippedMaps no_flip{};
    const int64_t group = p.shape.layout == Layout::kNHWC ? p.shape.k : 1;
    const int64_t grain = kBytesPerChunk / std::max<int64_t>(1, group * p.shape.h * p.shape.w * sizeof(T));
    parallel_for(p.shape.n * p.shape.k / group, grain, exec, [&](int64_t begin, int64_t end, int) {
      MapPlanes<T> planes(p.shape, p.heatmaps, no_flip, std::numeric_limits<R>::infinity());
      for (int64_t index = begin * group; index < end * group; ++index) f(planes.plane(index), index, tag);
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
