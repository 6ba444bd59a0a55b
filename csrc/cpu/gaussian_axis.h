// exp(-(i - centre)^2 / (2 sigma^2)) for consecutive i with three exponentials.
#pragma once

#include <cmath>
#include <cstdint>

namespace hgfast::cpu::HGFAST_ISA {

// values[i] for low <= i < high by the recurrence g(i+1) = g(i) r(i), r(i+1) = r(i) q with q = exp(-1 / sigma^2), from
// the pixel nearest to the centre outwards (there nothing overflows), in float64: the error grows by one rounding a
// step. Zero for the other i in [0, size). `stride` is the distance between two values.
template <class V>
void fill_gaussian_axis(V* values, int64_t stride, int size, int low, int high, double centre, double sigma) {
  for (int i = 0; i < size; ++i) values[i * stride] = 0;
  if (low >= high) return;
  const double a = 1.0 / (2.0 * sigma * sigma), q = std::exp(-2.0 * a);
  const double clamped = centre < low ? low : centre > high - 1 ? high - 1 : centre;
  const int start = static_cast<int>(clamped + 0.5);
  for (const int step : {1, -1}) {
    const double distance = step * (start - centre);
    double g = std::exp(-a * distance * distance), r = std::exp(-a * (2.0 * distance + 1.0));
    for (int i = start; i >= low && i < high; i += step, g *= r, r *= q) values[i * stride] = static_cast<V>(g);
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
