// Weighted mean squared error of heatmaps and its gradient in one pass on the CPU.
//
// A "run" is what is contiguous and has one rule: a whole map (NCHW, one weight) or a pixel's k joints (NHWC, k
// weights). A made target is the product of two short tables (gaussian_axis.h) that stay in cache. Bytes: pred once,
// target once if given, grad once if wanted; 5 FLOPs an element: bound by memory. Sums: float32 lanes within a row,
// float64 beyond it.
#include "common/ops.h"
#include "cpu/gaussian_axis.h"
#include "cpu/parallel.h"
#include "cpu/types.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

template <class T>
using Acc = typename Compute<T>::type;

constexpr int kChains = 4;  // independent sums, so that an addition does not wait for the one before

// The gradient is only written, and to memory that is in no cache: its lines are asked for this far ahead (measured,
// one thread, 17 MB: 2.5 to 1.9 ms). Asking for what is read gains nothing.
template <class T>
constexpr int64_t kAhead = 2048 / sizeof(T);

template <class T>
struct Sum {
  Vec<T> lanes[kChains] = {};
  Acc<T> tail = 0;

  double total() const {
    Acc<T> values[kLanes<T>], sum = tail;
    store(values, (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
    for (Acc<T> value : values) sum += value;
    return static_cast<double>(sum);
  }
};

// Adds weight * (pred - target)^2 over a run to sum; grad = scale2 * weight * (pred - target) if grad is not null.
// Target and Weight give a vector, or one value, for the element at i.
template <class T, class Target, class Weight>
void mse_run(const T* pred, T* grad, int64_t count, Acc<T> scale2, const Target& target, const Weight& weight,
             Sum<T>& sum) {
  const auto step = [&](int64_t i, Vec<T>& lanes) {
    const Vec<T> difference = load(pred + i) - target.vec(i), weighted = difference * weight.vec(i);
    lanes += weighted * difference;
    if (grad == nullptr) return;
    __builtin_prefetch(grad + i + kAhead<T>, 1);
    store(grad + i, weighted * scale2);
  };
  int64_t i = 0;
  for (; i + kChains * kLanes<T> <= count; i += kChains * kLanes<T>)
    for (int chain = 0; chain < kChains; ++chain) step(i + chain * kLanes<T>, sum.lanes[chain]);
  for (; i + kLanes<T> <= count; i += kLanes<T>) step(i, sum.lanes[0]);
  for (; i < count; ++i) {
    const Acc<T> difference = to_float(pred[i]) - target.one(i), weighted = difference * weight.one(i);
    sum.tail += weighted * difference;
    if (grad != nullptr) store_scalar(grad + i, weighted * scale2);
  }
}

template <class A>
struct Values {  // read from memory
  const A* values;
  Vec<A> vec(int64_t i) const { return load(values + i); }
  A one(int64_t i) const { return values[i]; }
};

template <class A>
struct Constant {
  A value;
  Vec<A> vec(int64_t) const { return Vec<A>{} + value; }
  A one(int64_t) const { return value; }
};

struct AxisProduct {  // made target, NCHW: gx[x] * gy of this row
  const float* gx;
  float gy;
  VecF vec(int64_t i) const { return load(gx + i) * gy; }
  float one(int64_t i) const { return gx[i] * gy; }
};

struct JointProduct {  // made target, NHWC: gx[k] * gy[k] at this pixel
  const float *gx, *gy;
  VecF vec(int64_t i) const { return load(gx + i) * load(gy + i); }
  float one(int64_t i) const { return gx[i] * gy[i]; }
};

// The tables of image n's joints in the workspace: gx, gy, weight; strides so that a run reads them contiguously.
struct Axes {
  float *gx, *gy, *weight;
  int64_t joint, pixel;  // distance between joints, and between pixels of an axis

  Axes(const KeypointMse& p, int64_t image) {
    gx = p.axes + image * p.k * (p.w + p.h + 1);
    gy = gx + p.k * p.w;
    weight = gy + p.k * p.h;
    joint = p.layout == Layout::kNCHW ? 0 : 1, pixel = p.layout == Layout::kNCHW ? 1 : p.k;
  }
  float* x_of(const KeypointMse& p, int64_t k) const { return gx + (joint ? k : k * p.w); }
  float* y_of(const KeypointMse& p, int64_t k) const { return gy + (joint ? k : k * p.h); }
};

void fill_axes(const KeypointMse& p, int64_t map) {
  const int64_t k = map % p.k;
  const Axes axes(p, map / p.k);
  const int w = static_cast<int>(p.w), h = static_cast<int>(p.h);
  const float* at = p.keypoints + 2 * map;
  const GaussianPatch patch = gaussian_patch(p.kind, at[0], at[1], p.visible[map], p.sigma, w, h);
  axes.weight[k] = patch.weight;
  fill_gaussian_axis(axes.x_of(p, k), axes.pixel, w, patch.left, patch.right, patch.cx, p.sigma);
  fill_gaussian_axis(axes.y_of(p, k), axes.pixel, h, patch.top, patch.bottom, patch.cy, p.sigma);
}

// One item (see KeypointMse::partial_count): its partial sum, its part of grad.
template <class T>
class Item {
 public:
  explicit Item(const KeypointMse& problem) : p(problem), scale2_(static_cast<Acc<T>>(2.0 * p.scale())) {}

  double given_map(int64_t map) const {
    const Constant<Acc<T>> weight{p.weight == nullptr ? Acc<T>{1} : weights()[map]};
    Sum<T> sum;
    run(map * p.h * p.w, p.h * p.w, given(map * p.h * p.w), weight, sum);
    return sum.total();
  }

  double given_row(int64_t row) const {
    Sum<T> sum;
    for (int64_t x = 0, start = row * p.w * p.k; x < p.w; ++x, start += p.k) {
      if (p.weight == nullptr)
        run(start, p.k, given(start), Constant<Acc<T>>{1}, sum);
      else
        run(start, p.k, given(start), Values<Acc<T>>{weights() + row / p.h * p.k}, sum);
    }
    return sum.total();
  }

  double made_map(int64_t map) const {
    const Axes axes(p, map / p.k);
    const int64_t k = map % p.k;
    double sum = 0;
    for (int64_t y = 0; y < p.h; ++y) {
      Sum<T> row;
      const AxisProduct target{axes.x_of(p, k), axes.y_of(p, k)[y]};
      run((map * p.h + y) * p.w, p.w, target, Constant<float>{axes.weight[k]}, row);
      sum += row.total();
    }
    return sum;
  }

  double made_row(int64_t row) const {
    const Axes axes(p, row / p.h);
    Sum<T> sum;
    for (int64_t x = 0; x < p.w; ++x) {
      const JointProduct target{axes.gx + x * p.k, axes.gy + row % p.h * p.k};
      run((row * p.w + x) * p.k, p.k, target, Values<float>{axes.weight}, sum);
    }
    return sum.total();
  }

 private:
  const KeypointMse& p;
  const Acc<T> scale2_;

  const Acc<T>* weights() const { return static_cast<const Acc<T>*>(p.weight); }
  Values<Acc<T>> given(int64_t start) const { return {static_cast<const Acc<T>*>(p.target) + start}; }

  template <class Target, class Weight>
  void run(int64_t start, int64_t count, const Target& target, const Weight& weight, Sum<T>& sum) const {
    T* grad = p.grad == nullptr ? nullptr : static_cast<T*>(p.grad) + start;
    mse_run(static_cast<const T*>(p.pred) + start, grad, count, scale2_, target, weight, sum);
  }
};

template <class F>
void for_each_item(const KeypointMse& p, Exec exec, const F& partial_sum) {
  parallel_for(p.partial_count(), 8, exec, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) p.partial[item] = partial_sum(item);
  });
}

template <class T>
void run(const KeypointMse& p, Exec exec) {
  const Item<T> item(p);
  const bool maps = p.layout == Layout::kNCHW;
  if (p.target != nullptr) {
    for_each_item(p, exec, [&](int64_t i) { return maps ? item.given_map(i) : item.given_row(i); });
  } else if constexpr (sizeof(Acc<T>) == sizeof(float)) {
    parallel_for(p.n * p.k, 16, exec, [&](int64_t begin, int64_t end, int) {
      for (int64_t map = begin; map < end; ++map) fill_axes(p, map);
    });
    for_each_item(p, exec, [&](int64_t i) { return maps ? item.made_map(i) : item.made_row(i); });
  } else {
    fail_value("keypoint_mse: a target cannot be made for float64");
  }
  double sum = 0;
  for (int64_t i = 0; i < p.partial_count(); ++i) sum += p.partial[i];
  *static_cast<Acc<T>*>(p.loss) = static_cast<Acc<T>>(sum * p.scale());
}

}  // namespace

void keypoint_mse(const KeypointMse& p, Exec exec) {
  dispatch(p.dtype, "keypoint_mse", [&](auto tag) { run<typename decltype(tag)::type>(p, exec); });
}

}  // namespace hgfast::cpu::HGFAST_ISA
