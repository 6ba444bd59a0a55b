// Backward of batch_norm_act: one pass of sums, one pass that makes the gradient of x.
//
// g = grad (+ grad2) where ReLU let through. Reduce: bias_grad = sum g, weight_grad = sum g * (x - mean) / std, float32
// within a chunk, double over the chunks in a fixed order; it writes g where the residual wants it. Apply:
// x_grad = scale * (g - bias_grad / count - (x - mean) / std * weight_grad / count).
// Bytes, each a tensor: reduce 2 reads (+1 read for grad2, +1 write for g), apply 2 reads (+1 for addend) and 1 write.
// Bound by DRAM bandwidth.
#pragma once

#include "cuda/batch_norm_act.cuh"

namespace hgfast::cuda {

// g and x - mean of one octet.
template <class T, bool kNHWC>
struct GatedOctet {
  Octet<T> g, centred;

  HG_DEV GatedOctet(const BatchNormGradient& p, const NormRows& s, const Affine<T, kNHWC>& a, int64_t row, int octet) {
    const int count = s.count(octet);
    const int64_t at = row * s.run + octet * kOctet;
    centred = load_octet(static_cast<const T*>(p.x) + at, count, s.packed);
    g = load_octet(static_cast<const T*>(p.grad) + at, count, s.packed);
    Octet<T> residual = {}, grad2 = {};
    if (p.grad2) grad2 = load_octet(static_cast<const T*>(p.grad2) + at, count, s.packed);
    if (p.residual) residual = load_octet(static_cast<const T*>(p.residual) + at, count, s.packed);
    unsigned bits = 0xff;
    if (p.gate == ReluGate::kMask) bits = static_cast<const unsigned char*>(p.mask)[row * s.mask_row_bytes + octet];
#pragma unroll
    for (int k = 0; k < kOctet; ++k) {
      const int j = kNHWC ? k : 0;
      centred.v[k] -= a.mean[j];
      g.v[k] += grad2.v[k];
      const auto y = centred.v[k] * a.scale[j] + a.bias[j] + residual.v[k];
      if (!(bits >> k & 1) || (p.gate == ReluGate::kRecompute && y <= 0)) g.v[k] = 0;
    }
  }
};

template <class T, bool kNHWC>
__global__ void batch_norm_backward_reduce_kernel(BatchNormBackwardReduce p, NormRows s) {
  using S = Scalar<T>;
  using Coefficients = Affine<T, kNHWC>;
  sum_rows<T, kNHWC>(
      s, [&](int channel) { return Coefficients(p.gradient, channel, s.c); },
      [&](int64_t row, int octet, const Coefficients& a, S* sum, S* product) {
        const GatedOctet<T, kNHWC> in(p.gradient, s, a, row, octet);
        if (p.masked)
          store_octet(static_cast<T*>(p.masked) + row * s.run + octet * kOctet, in.g, s.count(octet), s.packed);
#pragma unroll
        for (int k = 0; k < kOctet; ++k) {  // g is 0 past the end of a row
          sum[k] += in.g.v[k];
          product[k] += in.g.v[k] * in.centred.v[k];
        }
      },
      [&](int64_t chunk, int channel, S sum, S product) {
        *chunk_sum<S>(p.workspace, s, chunk, 0, channel) = sum;
        *chunk_sum<S>(p.workspace, s, chunk, 1, channel) = product;
      });
}

template <class S>
__global__ void merge_sums_kernel(BatchNormBackwardReduce p, NormRows s) {
  HG_SHARED(double, sums, (kMergeGroups * kMergeLanes));
  HG_SHARED(double, products, (kMergeGroups * kMergeLanes));
  const int channel = blockIdx.x * kMergeLanes + threadIdx.x;
  double sum = 0, product = 0;
  if (channel < s.c)
    for (int64_t chunk = threadIdx.y; chunk < s.chunks; chunk += kMergeGroups) {
      sum += *chunk_sum<S>(p.workspace, s, chunk, 0, channel);
      product += *chunk_sum<S>(p.workspace, s, chunk, 1, channel);
    }
  sums[threadIdx.y * kMergeLanes + threadIdx.x] = sum;
  products[threadIdx.y * kMergeLanes + threadIdx.x] = product;
  __syncthreads();
  if (threadIdx.y != 0 || channel >= s.c) return;
  for (int group = 1; group < kMergeGroups; ++group) {
    sum += sums[group * kMergeLanes + threadIdx.x];
    product += products[group * kMergeLanes + threadIdx.x];
  }
  const double var = static_cast<const S*>(p.gradient.var)[channel];
  static_cast<S*>(p.bias_grad)[channel] = static_cast<S>(sum);
  static_cast<S*>(p.weight_grad)[channel] = static_cast<S>(product / sqrt(var + p.gradient.eps));
}

// x_grad = scale * g + slope * (x - mean) + offset
template <class T, bool kNHWC>
struct GradientLine {
  Affine<T, kNHWC> affine;
  Scalar<T> slope[Affine<T, kNHWC>::kCount], offset[Affine<T, kNHWC>::kCount];

  HG_DEV GradientLine(const BatchNormBackwardApply& p, int first_channel, int c)
      : affine(p.gradient, first_channel, c) {
    using S = Scalar<T>;
#pragma unroll
    for (int k = 0; k < Affine<T, kNHWC>::kCount; ++k) {
      slope[k] = offset[k] = 0;
      if (!p.batch_statistics) continue;
      const int channel = first_channel + k < c ? first_channel + k : c - 1;
      const S scale = affine.scale[k] / static_cast<S>(p.count);
      slope[k] = -scale * affine.inverse[k] * static_cast<const S*>(p.weight_grad)[channel];
      offset[k] = -scale * static_cast<const S*>(p.bias_grad)[channel];
    }
  }
};

template <class T, bool kNHWC>
__global__ void batch_norm_backward_apply_kernel(BatchNormBackwardApply p, NormRows s) {
  using Coefficients = GradientLine<T, kNHWC>;
  for_each_octet<kNHWC>(
      s, [&](int channel) { return Coefficients(p, channel, s.c); },
      [&](int64_t row, int octet, const Coefficients& line) {
        GatedOctet<T, kNHWC> in(p.gradient, s, line.affine, row, octet);
        const int count = s.count(octet);
        const int64_t at = row * s.run + octet * kOctet;
        Octet<T> addend = {};
        if (p.addend) addend = load_octet(static_cast<const T*>(p.addend) + at, count, s.packed);
#pragma unroll
        for (int k = 0; k < kOctet; ++k) {
          const int j = kNHWC ? k : 0;
          in.g.v[k] =
              line.affine.scale[j] * in.g.v[k] + (line.slope[j] * in.centred.v[k] + line.offset[j]) + addend.v[k];
        }
        store_octet(static_cast<T*>(p.x_grad) + at, in.g, count, s.packed);
      });
}

template <class T>
NormRows rows_of(const BatchNormGradient& p, const void* output, const void* addend = nullptr) {
  return NormRows(p.shape, can_use_packs<T>(p.shape.run(), p.grad, p.grad2, p.x, p.residual, output, addend));
}

template <class T, bool kNHWC>
void launch_batch_norm_backward_reduce(const BatchNormBackwardReduce& p, Exec stream) {
  const NormRows s = rows_of<T>(p.gradient, p.masked);
  launch(batch_norm_backward_reduce_kernel<T, kNHWC>, s.sum_grid(kNHWC), s.block(), 0, stream, p, s);
  launch(merge_sums_kernel<Scalar<T>>, s.merge_grid(), dim3(kMergeLanes, kMergeGroups), 0, stream, p, s);
}

template <class T, bool kNHWC>
void launch_batch_norm_backward_apply(const BatchNormBackwardApply& p, Exec stream) {
  const NormRows s = rows_of<T>(p.gradient, p.x_grad, p.addend);
  launch(batch_norm_backward_apply_kernel<T, kNHWC>, s.grid(kNHWC), s.block(), 0, stream, p, s);
}

}  // namespace hgfast::cuda
