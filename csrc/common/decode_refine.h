// The steps below a pixel, shared by the CPU and CUDA kernels: from the values around a maximum to an offset.
//
// Sources: MSRA's quarter step and DARK (Zhang et al., CVPR 2020) and UDP (Huang et al., CVPR 2020) with MMPose's
// border rules; Newell's quarter step with princeton-vl's. A step that is not a finite number (NaN or infinity among
// the values, a singular Hessian) is not taken: the peers give NaN, or raise.
#pragma once

#include <cmath>

#include "common/decode_heatmaps.h"
#include "common/host_device.h"

namespace hgfast {

struct Offset {
  double x = 0, y = 0;
};

static inline HGFAST_HOST_DEVICE int clamp_index(int i, int size) { return i < 0 ? 0 : i < size ? i : size - 1; }

// A quarter of the sign of right - left; 0 where they are equal or not comparable.
template <class R>
static inline HGFAST_HOST_DEVICE double quarter_sign(R left, R right) {
  return right > left ? 0.25 : right < left ? -0.25 : 0.0;
}

// at(x, y) is the heatmap. MMPose steps in x only for 1 < x < w - 1, and 0 < y < h; likewise in y.
template <class At>
static inline HGFAST_HOST_DEVICE Offset quarter_step(const At& at, int x, int y, int w, int h) {
  Offset step;
  if (x > 1 && x < w - 1 && y > 0) step.x = quarter_sign(at(x - 1, y), at(x + 1, y));
  if (y > 1 && y < h - 1 && x > 0) step.y = quarter_sign(at(x, y - 1), at(x, y + 1));
  return step;
}

// Always a step, to the left (up) in a tie, and half a pixel for the pixel's centre; neighbours are clamped at borders.
template <class At>
static inline HGFAST_HOST_DEVICE Offset newell_step(const At& at, int x, int y, int w, int h) {
  const bool right = at(clamp_index(x + 1, w), y) > at(clamp_index(x - 1, w), y);
  const bool down = at(x, clamp_index(y + 1, h)) > at(x, clamp_index(y - 1, h));
  return {right ? 0.75 : 0.25, down ? 0.75 : 0.25};
}

// The methods that read nothing but the map itself.
template <class At>
static inline HGFAST_HOST_DEVICE Offset plain_step(DecodeMethod method, const At& at, int x, int y, int w, int h) {
  if (method == DecodeMethod::kQuarter) return quarter_step(at, x, y, w, h);
  if (method == DecodeMethod::kNewell) return newell_step(at, x, y, w, h);
  return {};
}

// Does no value around (x, y) exceed the one there? NaN exceeds nothing.
template <class At>
static inline HGFAST_HOST_DEVICE bool is_local_maximum(const At& at, int x, int y, int w, int h) {
  const auto value = at(x, y);
  bool highest = true;
  for (int yy = y > 0 ? y - 1 : 0; yy <= y + 1 && yy < h; ++yy)
    for (int xx = x > 0 ? x - 1 : 0; xx <= x + 1 && xx < w; ++xx) highest &= !(at(xx, yy) > value);
  return highest;
}

struct ClipRange {
  double low, high;
};

static inline HGFAST_HOST_DEVICE ClipRange clip_range(DecodeMethod method) {
  if (method == DecodeMethod::kDarkUdp) return {1e-3, 50.0};
  return {1e-10, HUGE_VAL};
}

// DARK takes a step only where all its neighbours lie in the map: 1 < x < w - 2 and 1 < y < h - 2. UDP always does.
static inline HGFAST_HOST_DEVICE bool takes_log_step(DecodeMethod method, int x, int y, int w, int h) {
  return method == DecodeMethod::kDarkUdp || (x > 1 && x < w - 2 && y > 1 && y < h - 2);
}

// Which of the 25 values the step reads: all within one pixel, DARK also the four at distance two.
static inline HGFAST_HOST_DEVICE bool reads_window_value(DecodeMethod method, int dx, int dy) {
  const bool near = dx >= -1 && dx <= 1 && dy >= -1 && dy <= 1;
  return near || (method == DecodeMethod::kDark && (dx == 0 || dy == 0));
}

// Is the factor old / new maximum without influence on the step? It multiplies all values alike, so it cancels in the
// differences of logarithms unless a value meets the clip range. With a positive value in the window, and an old
// maximum > 0, the new maximum lies in (0, old maximum]: a mean with weights that sum to at most 1 does not exceed the
// maximum. So the factor is at least 1, and brings no value above the old maximum. The margin is for rounding. False
// for NaN.
static inline HGFAST_HOST_DEVICE bool stays_above(double v, ClipRange clip) { return v >= clip.low * (1 + 1e-5); }
static inline HGFAST_HOST_DEVICE bool stays_below(double old_maximum, ClipRange clip) {
  return old_maximum <= clip.high * (1 - 1e-5);
}

static inline HGFAST_HOST_DEVICE double clip_value(double v, ClipRange clip) {  // NaN stays NaN
  return v < clip.low ? clip.low : v > clip.high ? clip.high : v;
}

// -H^-1 g for g = (gx, gy), H = [[xx, xy], [xy, yy]].
static inline HGFAST_HOST_DEVICE Offset newton_step(double gx, double gy, double xx, double xy, double yy) {
  const double det = xx * yy - xy * xy;
  if (!(det != 0)) return {};
  const Offset step{-(yy * gx - xy * gy) / det, -(xx * gy - xy * gx) / det};
  return std::isfinite(step.x) && std::isfinite(step.y) ? step : Offset{};
}

// DARK and UDP take their step from five logarithms of quotients, the differences of logarithms that make the gradient
// and the Hessian: 5 instead of 13. Logarithm 0 and 1 are first differences in x and y, 2 and 3 second ones, 4 mixed.
constexpr int kStepLogs = 5;

// Quotient i. at(dx, dy): the blurred map at so many pixels from the maximum, times old / new maximum, clipped.
template <class At>
static inline HGFAST_HOST_DEVICE double step_quotient(DecodeMethod method, int i, const At& at) {
  const bool dark = method == DecodeMethod::kDark;
  const auto along = [&](int d) { return i % 2 == 0 ? at(d, 0) : at(0, d); };
  if (i < 2) return along(1) / along(-1);
  const double center = at(0, 0);
  if (i < 4) return dark ? (along(2) / center) * (along(-2) / center) : along(1) * along(-1) / (center * center);
  if (dark) return (at(1, 1) / at(1, -1)) * (at(-1, -1) / at(-1, 1));
  return at(1, 1) * at(-1, -1) * (center * center) / (at(1, 0) * at(-1, 0) * (at(0, 1) * at(0, -1)));
}

// The step from the quotients' logarithms.
static inline HGFAST_HOST_DEVICE Offset step_from_logs(DecodeMethod method, const double (&log)[kStepLogs]) {
  if (method == DecodeMethod::kDark)
    return newton_step(0.5 * log[0], 0.5 * log[1], 0.25 * log[2], 0.25 * log[4], 0.25 * log[3]);
  constexpr double kRegularisation = 1.1920928955078125e-7;  // MMPose: eps of float32 on the Hessian's diagonal
  return newton_step(0.5 * log[0], 0.5 * log[1], log[2] + kRegularisation, 0.5 * log[4], log[3] + kRegularisation);
}

}  // namespace hgfast
