// 2x2 max-pooling, stride 2, NHWC, with an optional second output relu(scale2 * y + shift2). Reads 4 and writes 1 or 2
// elements per output element: bound by memory.
#include "common/ops.h"
#include "cpu/parallel.h"
#include "cpu/types.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

template <class V>
V larger(V a, V b) {
  return a > b || a != a ? a : b;  // NaN wins, as in torch
}
inline VecF larger(VecF a, VecF b) { return (a > b) | (a != a) ? a : b; }
inline VecD larger(VecD a, VecD b) { return (a > b) | (a != a) ? a : b; }

// One output pixel; `top` and `bottom` point at its two input rows.
template <class T>
void pool_pixel(const T* top, const T* bottom, const MaxPool& p, T* y, T* y2) {
  const int64_t c = p.c;
  int64_t i = 0;
  for (; i + kLanes<T> <= c; i += kLanes<T>) {
    const Vec<T> v = larger(larger(load(top + i), load(top + c + i)), larger(load(bottom + i), load(bottom + c + i)));
    store(y + i, v);
    if (!y2) continue;
    Vec<T> scale, shift;
    for (int lane = 0; lane < kLanes<T>; ++lane) scale[lane] = p.scale2[i + lane], shift[lane] = p.shift2[i + lane];
    const Vec<T> sum = scale * v + shift;
    store(y2 + i, Vec<T>{} > sum ? Vec<T>{} : sum);
  }
  for (; i < c; ++i) {
    const auto v =
        larger(larger(to_float(top[i]), to_float(top[c + i])), larger(to_float(bottom[i]), to_float(bottom[c + i])));
    store_scalar(y + i, v);
    if (!y2) continue;
    const auto sum = p.scale2[i] * v + p.shift2[i];
    store_scalar(y2 + i, 0 > sum ? 0 : sum);
  }
}

template <class T>
void pool_row(const MaxPool& p, int64_t row) {
  const int64_t out_h = p.h / 2, out_w = p.w / 2, image = row / out_h, i = row % out_h;
  const T* top = static_cast<const T*>(p.x) + (image * p.h + 2 * i) * p.w * p.c;
  for (int64_t j = 0; j < out_w; ++j) {
    const int64_t at = (row * out_w + j) * p.c, from = 2 * j * p.c;
    pool_pixel(top + from, top + p.w * p.c + from, p, static_cast<T*>(p.y) + at,
               p.y2 ? static_cast<T*>(p.y2) + at : nullptr);
  }
}

}  // namespace

void max_pool(const MaxPool& p, Exec exec) {
  dispatch(p.dtype, "max_pool", [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int64_t kRowsPerChunk = 4;
    parallel_for(p.n * (p.h / 2), kRowsPerChunk, exec, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) pool_row<T>(p, row);
    });
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
