// out = skip + nearest2x(low) on the CPU, and its backward.
//
// NHWC: a pixel's c channels are one contiguous run, so a row of out is w runs, each skip's run plus low's run of half
// the column. NCHW: each run is one image row and low's elements are doubled on the fly. Per element of out 2 reads
// (low's comes from cache for 3 of 4) and 1 write: 2.25 * size bytes moved, 1 addition. Bound by memory: in place there
// is no fresh output whose pages must be mapped and zeroed, which costs several times the sum.
#include "common/ops.h"
#include "cpu/parallel.h"
#include "cpu/types.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int64_t kBytesPerChunk = 128 * 1024;  // of out: enough to pay for claiming a chunk, small enough to balance

template <class T>
void add_run(const T* a, const T* b, T* out, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) store(out + i, load(a + i) + load(b + i));
  for (; i < count; ++i) store_scalar(out + i, to_float(a[i]) + to_float(b[i]));
}

template <class T>
void add_doubled_run(const T* skip, const T* low, T* out, int64_t w) {
  for (int64_t x = 0; x < w; ++x) store_scalar(out + x, to_float(skip[x]) + to_float(low[x / 2]));
}

// Row `row` of all n * h (NHWC) or n * c * h (NCHW) rows of out.
template <class T>
void forward_row(const UpsampleAdd& p, int64_t row) {
  const int64_t image = row / p.h, y = row % p.h;
  const int64_t width = p.layout == Layout::kNHWC ? p.c : 1;  // elements of one pixel of a row
  const int64_t offset = row * p.w * width;
  const T* skip = static_cast<const T*>(p.skip) + offset;
  const T* low = static_cast<const T*>(p.low) + (image * p.low_h() + y / 2) * p.low_w() * width;
  T* out = static_cast<T*>(p.out) + offset;
  if (p.layout == Layout::kNCHW) return add_doubled_run(skip, low, out, p.w);
  for (int64_t x = 0; x < p.w; ++x) add_run(skip + x * p.c, low + x / 2 * p.c, out + x * p.c, p.c);
}

// grad_low's run = sum of grad's runs at the given (1, 2 or 4) pixels; the order of the sum is fixed.
template <class T>
void sum_runs(const T* const* runs, int count, T* out, int64_t length) {
  int64_t i = 0;
  for (; i + kLanes<T> <= length; i += kLanes<T>) {
    Vec<T> sum = load(runs[0] + i);
    for (int r = 1; r < count; ++r) sum += load(runs[r] + i);
    store(out + i, sum);
  }
  for (; i < length; ++i) {
    auto sum = to_float(runs[0][i]);
    for (int r = 1; r < count; ++r) sum += to_float(runs[r][i]);
    store_scalar(out + i, sum);
  }
}

// Row `row` of all rows of grad_low.
template <class T>
void backward_row(const UpsampleAddBackward& p, int64_t row) {
  const int64_t image = row / p.low_h(), y = row % p.low_h();
  const int64_t width = p.layout == Layout::kNHWC ? p.c : 1;
  T* out = static_cast<T*>(p.grad_low) + row * p.low_w() * width;
  const T* top = static_cast<const T*>(p.grad) + (image * p.h + 2 * y) * p.w * width;
  const bool has_bottom = 2 * y + 1 < p.h;
  for (int64_t x = 0; x < p.low_w(); ++x) {
    const T* runs[4];
    int count = 0;
    for (int dy = 0; dy < 1 + has_bottom; ++dy)
      for (int dx = 0; dx < 2 && 2 * x + dx < p.w; ++dx) runs[count++] = top + (dy * p.w + 2 * x + dx) * width;
    sum_runs(runs, count, out + x * width, width);
  }
}

}  // namespace

void upsample_add(const UpsampleAdd& p, Exec exec) {
  dispatch(p.dtype, "upsample_add", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t planes = p.layout == Layout::kNHWC ? 1 : p.c, width = p.layout == Layout::kNHWC ? p.c : 1;
    const int64_t row_bytes = std::max<int64_t>(1, p.w * width * sizeof(T));
    parallel_for(p.n * planes * p.h, kBytesPerChunk / row_bytes, exec, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) forward_row<T>(p, row);
    });
  });
}

void upsample_add_backward(const UpsampleAddBackward& p, Exec exec) {
  dispatch(p.dtype, "upsample_add_backward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t planes = p.layout == Layout::kNHWC ? 1 : p.c, width = p.layout == Layout::kNHWC ? p.c : 1;
    const int64_t row_bytes = std::max<int64_t>(1, 2 * p.w * width * sizeof(T));
    parallel_for(p.n * planes * p.low_h(), kBytesPerChunk / row_bytes, exec, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) backward_row<T>(p, row);
    });
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
