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
