// 2x2 max-pooling, stride 2, NHWC, with an optional second output relu(scale2 * y + shift2), and its gradient.
//
// Forward reads 4 and writes 1 or 2 elements per output element; backward reads 5 (9 with the addend) and writes 4.
// Bound by memory. Each cell is independent of the others, so threads do not change the result.
#include "common/ops.h"
#include "cpu/parallel.h"
#include "cpu/types.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int64_t kRowsPerChunk = 4;

// Cells are read from two lines in turn, which no hardware prefetcher foresees: so much further on is asked for
// (measured where the maps come from memory: forward 1.7 to 1.1 ms). In place of a function: GCC removes one that only
// prefetches.
template <class T>
constexpr int64_t kAhead = 2048 / sizeof(T);

// Does b win against a, which comes before it? For vectors and numbers.
template <class V>
auto beats(V b, V a) {
  return (b > a) | (b != b);
}
template <class V>
V winner(V a, V b) {
  return beats(b, a) ? b : a;
}

// One output pixel; `top` and `bottom` point at its two input rows.
template <class T>
void pool_pixel(const T* top, const T* bottom, const MaxPool& p, T* y, T* y2) {
  const int64_t c = p.c;
  int64_t i = 0;
  for (; i + kLanes<T> <= c; i += kLanes<T>) {
    for (const T* line : {top, bottom})
      for (int64_t side : {int64_t{0}, c}) __builtin_prefetch(line + side + i + kAhead<T>);
    const Vec<T> v = winner(winner(load(top + i), load(top + c + i)), winner(load(bottom + i), load(bottom + c + i)));
    store(y + i, v);
    if (!y2) continue;
    Vec<T> scale, shift;
    for (int lane = 0; lane < kLanes<T>; ++lane) scale[lane] = p.scale2[i + lane], shift[lane] = p.shift2[i + lane];
    const Vec<T> sum = scale * v + shift;
    store(y2 + i, Vec<T>{} > sum ? Vec<T>{} : sum);
  }
  for (; i < c; ++i) {
    const auto v =
        winner(winner(to_float(top[i]), to_float(top[c + i])), winner(to_float(bottom[i]), to_float(bottom[c + i])));
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

// The arrays of one problem, all pointing at the same place of x.
template <class T>
struct Gradient {
  const T *x, *addend;
  T* x_grad;

  Gradient at(int64_t offset) const { return {x + offset, addend ? addend + offset : nullptr, x_grad + offset}; }
};

// What a cell's winner gets is `grad`, the others 0, plus the addend; x, addend and result through the given accesses.
template <class V, class LoadX, class LoadAddend, class Store>
void route(V grad, const LoadX& x, const LoadAddend& addend, const Store& put) {
  const V a = x(0), b = x(1), c = x(2), d = x(3), zero{};
  const auto right = beats(b, a), low_right = beats(d, c);
  const auto low = beats(low_right ? d : c, right ? b : a);
  const V upper = low ? zero : grad, lower = low ? grad : zero;
  put(0, addend(0) + (right ? zero : upper));
  put(1, addend(1) + (right ? upper : zero));
  put(2, addend(2) + (low_right ? zero : lower));
  put(3, addend(3) + (low_right ? lower : zero));
}

// A cell of `c` channels; `line` is the distance of its second row.
template <class T>
void route_cell(const Gradient<T>& g, const T* grad, int64_t line, int64_t c) {
  using R = typename Compute<T>::type;
  const int64_t places[4] = {0, c, line, line + c};
  int64_t i = 0;
  for (; i + kLanes<T> <= c; i += kLanes<T>) {
    for (int64_t place : places) {
      __builtin_prefetch(g.x + place + i + kAhead<T>);
      if (g.addend) __builtin_prefetch(g.addend + place + i + kAhead<T>);
    }
    route(
        load(grad + i), [&](int at) { return load(g.x + places[at] + i); },
        [&](int at) { return g.addend ? load(g.addend + places[at] + i) : Vec<T>{}; },
        [&](int at, Vec<T> v) { store(g.x_grad + places[at] + i, v); });
  }
  for (; i < c; ++i)
    route(
        to_float(grad[i]), [&](int at) { return to_float(g.x[places[at] + i]); },
        [&](int at) { return g.addend ? to_float(g.addend[places[at] + i]) : R(0); },
        [&](int at, R v) { store_scalar(g.x_grad + places[at] + i, v); });
}

// Elements that are in no cell.
template <class T>
void keep_addend(const Gradient<T>& g, int64_t count) {
  if (g.addend)
    std::memcpy(static_cast<void*>(g.x_grad), g.addend, count * sizeof(T));
  else
    std::memset(static_cast<void*>(g.x_grad), 0, count * sizeof(T));
}

// Row `row` of all rows of cells, the half ones at the bottom of odd images included.
template <class T>
void backward_row(const MaxPoolBackward& p, int64_t row) {
  const int64_t rows = (p.h + 1) / 2, image = row / rows, i = row % rows, line = p.w * p.c;
  const Gradient<T> all{static_cast<const T*>(p.x), static_cast<const T*>(p.addend), static_cast<T*>(p.x_grad)};
  const Gradient<T> g = all.at((image * p.h + 2 * i) * line);
  if (2 * i + 1 == p.h) return keep_addend(g, line);
  const T* grad = static_cast<const T*>(p.grad) + (image * (p.h / 2) + i) * (p.w / 2) * p.c;
  for (int64_t j = 0; j < p.w / 2; ++j) route_cell(g.at(2 * j * p.c), grad + j * p.c, line, p.c);
  if (p.w % 2 == 0) return;
  for (int64_t end = line; end <= 2 * line; end += line) keep_addend(g.at(end - p.c), p.c);
}

}  // namespace

void max_pool(const MaxPool& p, Exec exec) {
  dispatch(p.dtype, "max_pool", [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(p.n * (p.h / 2), kRowsPerChunk, exec, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) pool_row<T>(p, row);
    });
  });
}

void max_pool_backward(const MaxPoolBackward& p, Exec exec) {
  dispatch(p.dtype, "max_pool_backward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(p.n * ((p.h + 1) / 2), kRowsPerChunk, exec, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) backward_row<T>(p, row);
    });
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
