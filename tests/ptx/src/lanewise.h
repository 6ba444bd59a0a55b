// Handlers of instructions that do the same in each lane: d = f(a), f(a, b), f(a, b, c).
#pragma once

#include "machine.h"

namespace hgfast::ptx {

template <class T, class F>
Step unary(Warp& w, const Instruction& i) {
  T* const d = w.at<T>(i.d);
  const T* const a = w.at<T>(i.a);
  for_lanes(w, [=](int l) { d[l] = F::f(a[l]); });
  return Step::kNext;
}
template <class T, class F>
Step binary(Warp& w, const Instruction& i) {
  T* const d = w.at<T>(i.d);
  const T *const a = w.at<T>(i.a), *const b = w.at<T>(i.b);
  for_lanes(w, [=](int l) { d[l] = F::f(a[l], b[l]); });
  return Step::kNext;
}
template <class T, class F>
Step ternary(Warp& w, const Instruction& i) {
  T* const d = w.at<T>(i.d);
  const T *const a = w.at<T>(i.a), *const b = w.at<T>(i.b), *const c = w.at<T>(i.c);
  for_lanes(w, [=](int l) { d[l] = F::f(a[l], b[l], c[l]); });
  return Step::kNext;
}

// Families of functions that the arithmetic instructions choose from; null where there is no such form.
Handler integer_arithmetic(const std::string& name, const std::string& type, bool high);
Handler integer_multiply_add(const std::string& type, bool high);
Handler wide_multiply(const std::string& type, bool adds);
Handler float_arithmetic(const std::string& name, const std::string& type, char rounding, bool nan, bool flush);
Handler float_multiply_add(const std::string& type, char rounding);
Handler half_arithmetic(const std::string& name, const std::string& type, bool nan);
Handler half_multiply_add(const std::string& type);

}  // namespace hgfast::ptx
