// Decoding on the CPU: the maximum of each map in one pass over it, then the step below a pixel from values in cache.
//
// Bytes: one read of the maps (two with a flip test). Arithmetic: one comparison per value; DARK and UDP blur 5x5
// values around the maximum, 2 * 25 * (2r+1) multiplications or so, and only where their clip range may matter the
// whole map.
#include "common/decode_refine.h"
#include "common/ops.h"
#include "cpu/decode_blur.h"
#include "cpu/decode_peak.h"
#include "cpu/heatmap_maps.h"
#include "cpu/types.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int64_t kBytesPerChunk = 256 * 1024;  // of maps

template <class R>
struct Keypoint {
  double x, y;
  R score;
};

template <class R>
Offset log_step(const DecodeHeatmaps& p, const Plane<R>& plane, Blur<R>& blur, int x, int y, R maximum) {
  R blurred[5][5];
  blur.window(plane.values, plane.w, plane.h, x, y, blurred);
  const ClipRange clip = clip_range(p.method);
  int column[5], row[5];  // UDP pads by repeating the border; DARK stays inside
  for (int d = -2; d <= 2; ++d) {
    column[d + 2] = clamp_index(x + d, plane.w) - x + 2;
    row[d + 2] = clamp_index(y + d, plane.h) - y + 2;
  }
  double window[5][5];
  bool factor_cancels = stays_below(maximum, clip);
  for (int dy = -2; dy <= 2; ++dy)
    for (int dx = -2; dx <= 2; ++dx) {
      const double v = window[dy + 2][dx + 2] = blurred[row[dy + 2]][column[dx + 2]];
      if (reads_window_value(p.method, dx, dy)) factor_cancels &= stays_above(v, clip);
    }
  if (!factor_cancels) {
    const double factor = maximum / blur.maximum(plane.values, plane.w, plane.h);
    for (auto& row : window)
      for (double& v : row) v = clip_value(v * factor, clip);
  }
  double logs[kStepLogs];
  for (int i = 0; i < kStepLogs; ++i)
    logs[i] = std::log(step_quotient(p.method, i, [&](int dx, int dy) { return window[dy + 2][dx + 2]; }));
  return step_from_logs(p.method, logs);
}

template <class R>
Offset step_from(const DecodeHeatmaps& p, const Plane<R>& plane, Blur<R>& blur, int x, int y, R maximum) {
  if (p.method != DecodeMethod::kDark && p.method != DecodeMethod::kDarkUdp)
    return plain_step(p.method, plane, x, y, plane.w, plane.h);
  return takes_log_step(p.method, x, y, plane.w, plane.h) ? log_step(p, plane, blur, x, y, maximum) : Offset{};
}

// A map without a positive value: (-1, -1) and its maximum. princeton-vl gives the place of a maximum, here the first
// one, and suppresses all that is no local maximum to 0, so that a negative maximum shows only in a constant map.
template <class R>
Keypoint<R> no_positive_value(const DecodeHeatmaps& p, const Plane<R>& plane, Peak<R> peak) {
  if (p.method != DecodeMethod::kNewell || peak.value != peak.value) return {-1, -1, peak.value};
  const int64_t size = int64_t{plane.w} * plane.h;
  bool constant = true;
  for (int64_t i = 0; i < size; ++i) constant &= !(plane.values[i] < peak.value);
  return {double(peak.index % plane.w), double(peak.index / plane.w), constant ? peak.value : R(0)};
}

template <class R>
Keypoint<R> decode_plane(const DecodeHeatmaps& p, const Plane<R>& plane, Peak<R> peak, Blur<R>& blur) {
  if (!(peak.value > 0)) return no_positive_value(p, plane, peak);
  const int x = static_cast<int>(peak.index % plane.w), y = static_cast<int>(peak.index / plane.w);
  const Offset step = step_from(p, plane, blur, x, y, peak.value);
  return {x + step.x, y + step.y, peak.value};
}

template <class A>
void apply_affine(const A* m, double& x, double& y) {
  const double mapped_x = m[0] * x + m[1] * y + m[2];
  y = m[3] * x + m[4] * y + m[5];
  x = mapped_x;
}

template <class R>
void write_keypoint(const DecodeHeatmaps& p, int64_t index, Keypoint<R> keypoint) {
  // rounded as the peers have it: first in heatmap pixels, then mapped
  double x = R(keypoint.x), y = R(keypoint.y);
  const int64_t matrix = index / p.shape.k * p.affine_stride;
  if (p.affine != nullptr && p.affine_dtype == DType::kFloat64)
    apply_affine(static_cast<const double*>(p.affine) + matrix, x, y);
  else if (p.affine != nullptr)
    apply_affine(static_cast<const float*>(p.affine) + matrix, x, y);
  R* out = static_cast<R*>(p.keypoints) + 2 * index;
  out[0] = static_cast<R>(x);
  out[1] = static_cast<R>(y);
  static_cast<R*>(p.scores)[index] = keypoint.score;
}

}  // namespace

void decode_heatmaps(const DecodeHeatmaps& p, Exec exec) {
  dispatch(p.shape.dtype, "decode_heatmaps", [&](auto tag) {
    using T = typename decltype(tag)::type;
    using R = typename Compute<T>::type;
    const int w = static_cast<int>(p.shape.w), h = static_cast<int>(p.shape.h);
    const R limit = p.clamps_at_one() ? R(1) : std::numeric_limits<R>::infinity();
    for_plane_ranges<T>(p.shape, p.heatmaps, p.flipped, limit, exec, [&](auto& planes, int64_t begin, int64_t end) {
      Blur<R> blur(p.blur);
      for (int64_t index = begin; index < end; ++index) {
        const auto [values, peak] = planes.plane(index);
        write_keypoint(p, index, decode_plane(p, Plane<R>{values, w, h}, peak, blur));
      }
    });
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
