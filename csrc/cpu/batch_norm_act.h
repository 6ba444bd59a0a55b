// What the forward and backward kernels of batch_norm_act share: per-channel coefficients and y itself.
#pragma once

#include <cmath>
#include <vector>

#include "common/batch_norm_act.h"
#include "cpu/block.h"
#include "cpu/parallel.h"
#include "cpu/types.h"

namespace hgfast::cpu::HGFAST_ISA {

constexpr int64_t kBatchNormGrain = 32768;  // elements that a thread claims at once
constexpr int64_t kRowsAtOnce = 4;          // NHWC rows whose sums are added up in registers

// Outputs from this size on are written past the caches: whoever reads them next would not find them there, for they
// and what was read beside them are more than the 32 MiB of L3 that is common.
constexpr int64_t kStreamedBytes = int64_t{32} << 20;

// So many elements further on the reductions ask for: more than the page that the hardware looks ahead in.
template <class T>
constexpr int64_t kAhead = 8192 / sizeof(T);

// Three numbers per channel, padded so that whole blocks can be loaded. A row's block i needs those of its 16 channels
// (NHWC) or 16 times those of its one channel (NCHW).
template <class T>
struct Coefficients {
  std::vector<Scalar<T>> first, second, third;

  explicit Coefficients(const BatchNormShape& shape)
      : first(shape.padded_c()), second(shape.padded_c()), third(shape.padded_c()) {}
};

// mean, weight / sqrt(var + eps), bias: y = (x - mean) * scale + bias. Subtracting the mean first costs nothing where
// memory is the limit, and keeps the digits that x * scale + (bias - mean * scale) loses for a large mean.
template <class T, class Problem>
Coefficients<T> affine_coefficients(const Problem& p) {
  using S = Scalar<T>;
  const S *mean = static_cast<const S*>(p.mean), *var = static_cast<const S*>(p.var);
  const S *weight = static_cast<const S*>(p.weight), *bias = static_cast<const S*>(p.bias);
  Coefficients<T> result(p.shape);
  for (int64_t c = 0; c < p.shape.c; ++c) {
    const double inverse = 1.0 / std::sqrt(static_cast<double>(var[c]) + p.eps);
    result.first[c] = mean[c];
    result.second[c] = static_cast<S>(weight ? weight[c] * inverse : inverse);
    result.third[c] = bias ? bias[c] : 0;
  }
  return result;
}

// One row's view of an array of coefficients.
template <class T, bool kNHWC>
struct RowCoefficients {
  const Scalar<T>* values;
  Block<T> constant;

  RowCoefficients(const std::vector<Scalar<T>>& all, const BatchNormShape& shape, int64_t row) {
    if constexpr (kNHWC)
      values = all.data();
    else
      constant = splat<T>(all[row % shape.c]);
  }
  Block<T> at(int64_t i) const {
    if constexpr (kNHWC)
      return load_scalars<T>(values + i);
    else
      return constant;
  }
};

// f(i, width) for the blocks of a row; the width of whole blocks is a constant, so that nothing asks for it.
template <class F>
inline void for_each_block(int64_t run, const F& f) {
  int64_t i = 0;
  for (; i + kBlock <= run; i += kBlock) f(i, std::integral_constant<int64_t, kBlock>{});
  if (i < run) f(i, run - i);
}

// Writes an output of the row kernels: full blocks past the caches if it streams.
template <class T>
struct RowWriter {
  T* base;
  int64_t run;
  bool streams;

  RowWriter(void* output, const BatchNormShape& shape) : base(static_cast<T*>(output)), run(shape.run()) {
    const bool aligned = reinterpret_cast<uintptr_t>(base) % kVecBytes == 0 && run % kBlock == 0;
    streams = std::is_same_v<T, float> && aligned && shape.rows() * run * int64_t{sizeof(T)} >= kStreamedBytes;
  }
  explicit operator bool() const { return base != nullptr; }

  void store(int64_t row, int64_t i, const Block<T>& block, int64_t width) const {
    T* target = base + row * run + i;
    if constexpr (std::is_same_v<T, float>)
      if (streams) {
        for (int p = 0; p < Block<T>::kParts; ++p) stream(target + p * kLanes<T>, block.v[p]);
        return;
      }
    store_block(target, block, width);
  }
};

// f(row) for all rows, each thread's last ranges first.
template <class F>
void for_each_row_backwards(const BatchNormShape& shape, Exec exec, const F& f) {
  const int64_t grain = kBatchNormGrain / std::max<int64_t>(shape.run(), 1);
  parallel_for<Order::kBackwards>(shape.rows(), grain, exec, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) f(row);
    end_streaming();
  });
}

// Calls f(TypeTag<T>, bool_constant<is NHWC>).
template <class F>
void dispatch_batch_norm(const BatchNormShape& shape, const char* op, const F& f) {
  dispatch(shape.dtype, op, [&](auto tag) {
    if (shape.nhwc())
      f(tag, std::true_type{});
    else
      f(tag, std::false_type{});
  });
}

// The two arrays of a chunk's sums in the workspace.
template <class T>
struct ChunkSums {
  Scalar<T>*first, *second;

  ChunkSums(void* workspace, const BatchNormShape& shape, int64_t chunk)
      : first(static_cast<Scalar<T>*>(workspace) + chunk * 2 * shape.padded_c()), second(first + shape.padded_c()) {}
};

// f(chunk) for every chunk of NHWC, or f(row) for every (image, channel) of NCHW.
template <class F>
void for_each_part(const BatchNormShape& shape, Exec exec, const F& f) {
  const int64_t parts = shape.nhwc() ? shape.chunks() : shape.rows();
  const int64_t elements = shape.nhwc() ? shape.chunk_rows() * shape.c : shape.hw;
  parallel_for(parts, kBatchNormGrain / std::max<int64_t>(elements, 1), exec, [&](int64_t begin, int64_t end, int) {
    for (int64_t part = begin; part < end; ++part) f(part);
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
