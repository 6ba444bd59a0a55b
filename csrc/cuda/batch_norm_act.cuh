// Forward of batch_norm_act: statistics of a batch, and out = relu((x - mean) * scale + bias + residual).
//
// Statistics: a block sums d and d * d, d = x - (the chunk's first value), over one chunk of rows; a second, small
// kernel merges the chunks' means and squared deviations in double (Chan, Golub, LeVeque 1979), always in the same
// order. Bytes: 1 read of x, then 1 or 2 reads and 1 write plus 1 bit per element. Bound by DRAM bandwidth. Any n, hw,
// c; 16-byte accesses where the length of a row is a multiple of 8.
#pragma once

#include "cuda/batch_norm_rows.cuh"

namespace hgfast::cuda {

// The first value of each channel in this chunk or plane.
template <class T, bool kNHWC>
struct Origin {
  Octet<T> v;

  HG_DEV Origin(const T* x, const NormRows& s, int first_channel) {
    if constexpr (kNHWC) {
      const T* row = x + int64_t{blockIdx.x} * s.chunk_rows * s.run;
      v = load_octet(row + first_channel, min(kOctet, s.c - first_channel), s.packed);
    } else {
      const T* row = x + (int64_t{blockIdx.x} * blockDim.y + threadIdx.y) * s.run;
#pragma unroll
      for (int k = 0; k < kOctet; ++k) v.v[k] = to_scalar(row[0]);
    }
  }
};

template <class T, bool kNHWC>
__global__ void batch_norm_stats_kernel(BatchNormStats p, NormRows s) {
  using S = Scalar<T>;
  const T* x = static_cast<const T*>(p.x);
  sum_rows<T, kNHWC>(
      s, [&](int channel) { return Origin<T, kNHWC>(x, s, channel); },
      [&](int64_t row, int octet, const Origin<T, kNHWC>& origin, S* sum, S* squares) {
        const int count = s.count(octet);
        const Octet<T> value = load_octet(x + row * s.run + octet * kOctet, count, s.packed);
#pragma unroll
        for (int k = 0; k < kOctet; ++k) {
          const S d = k < count ? value.v[k] - origin.v.v[k] : S(0);
          sum[k] += d;
          squares[k] += d * d;
        }
      },
      [&](int64_t chunk, int channel, S sum, S squares) {
        const S n = static_cast<S>(s.chunk_count(chunk, kNHWC)), mean = sum / n;
        const S deviation = squares - sum * mean;
        const int64_t first = kNHWC ? chunk * s.chunk_rows * s.run + channel : (chunk * s.c + channel) * s.run;
        *chunk_sum<S>(p.workspace, s, chunk, 0, channel) = to_scalar(x[first]) + mean;
        *chunk_sum<S>(p.workspace, s, chunk, 1, channel) = deviation < 0 ? S(0) : deviation;
      });
}

// Count, mean and sum of squared deviations of a set of values.
struct Moments {
  double count, mean, squares;

  HG_DEV void merge(const Moments& other) {
    if (other.count == 0) return;
    const double total = count + other.count, delta = other.mean - mean, share = other.count / total;
    squares += other.squares + delta * delta * count * share;
    mean += delta * share;
    count = total;
  }
};

template <class S>
__global__ void merge_moments_kernel(BatchNormStats p, NormRows s, bool nhwc) {
  HG_SHARED(Moments, shared, (kMergeGroups * kMergeLanes));
  const int channel = blockIdx.x * kMergeLanes + threadIdx.x;
  Moments mine{0, 0, 0};
  if (channel < s.c)
    for (int64_t chunk = threadIdx.y; chunk < s.chunks; chunk += kMergeGroups)
      mine.merge({static_cast<double>(s.chunk_count(chunk, nhwc)), *chunk_sum<S>(p.workspace, s, chunk, 0, channel),
                  *chunk_sum<S>(p.workspace, s, chunk, 1, channel)});
  shared[threadIdx.y * kMergeLanes + threadIdx.x] = mine;
  __syncthreads();
  if (threadIdx.y != 0 || channel >= s.c) return;
  for (int group = 1; group < kMergeGroups; ++group) mine.merge(shared[group * kMergeLanes + threadIdx.x]);
  static_cast<S*>(p.mean)[channel] = static_cast<S>(mine.mean);
  static_cast<S*>(p.var)[channel] = static_cast<S>(mine.squares / mine.count);
}

template <class T, bool kNHWC>
__global__ void batch_norm_apply_kernel(BatchNormApply p, NormRows s) {
  using Coefficients = Affine<T, kNHWC>;
  for_each_octet<kNHWC>(
      s, [&](int channel) { return Coefficients(p, channel, s.c); },
      [&](int64_t row, int octet, const Coefficients& a) {
        const int count = s.count(octet);
        const int64_t at = row * s.run + octet * kOctet;
        Octet<T> y = load_octet(static_cast<const T*>(p.x) + at, count, s.packed);
        Octet<T> residual = {};
        if (p.residual) residual = load_octet(static_cast<const T*>(p.residual) + at, count, s.packed);
        unsigned bits = 0;
#pragma unroll
        for (int k = 0; k < kOctet; ++k) {
          const int j = kNHWC ? k : 0;
          y.v[k] = (y.v[k] - a.mean[j]) * a.scale[j] + a.bias[j] + residual.v[k];
          if (!(y.v[k] <= 0) && k < count) bits |= 1u << k;
          if (p.relu && y.v[k] < 0) y.v[k] = 0;
        }
        if (p.mask) static_cast<unsigned char*>(p.mask)[row * s.mask_row_bytes + octet] = bits;
        store_octet(static_cast<T*>(p.out) + at, y, count, s.packed);
        // a row of the mask has an even number of bytes: the last octet also clears the byte that no element owns
        if (p.mask && octet + 1 == s.octets && s.octets % 2 == 1)
          static_cast<unsigned char*>(p.mask)[row * s.mask_row_bytes + s.octets] = 0;
      });
}

template <class T, bool kNHWC>
void launch_batch_norm_stats(const BatchNormStats& p, Exec stream) {
  const NormRows s(p.shape, can_use_packs<T>(p.shape.run(), p.x));
  launch(batch_norm_stats_kernel<T, kNHWC>, s.sum_grid(kNHWC), s.block(), 0, stream, p, s);
  launch(merge_moments_kernel<Scalar<T>>, s.merge_grid(), dim3(kMergeLanes, kMergeGroups), 0, stream, p, s, kNHWC);
}

template <class T, bool kNHWC>
void launch_batch_norm_apply(const BatchNormApply& p, Exec stream) {
  const NormRows s(p.shape, can_use_packs<T>(p.shape.run(), p.x, p.residual, p.out));
  launch(batch_norm_apply_kernel<T, kNHWC>, s.grid(kNHWC), s.block(), 0, stream, p, s);
}

// Calls f(TypeTag<T>, bool_constant<is NHWC>).
template <class F>
void dispatch_batch_norm(const BatchNormShape& shape, const char* op, const F& f) {
  dispatch<true>(shape.dtype, op, [&](auto tag) {
    if (shape.nhwc())
      f(tag, std::true_type{});
    else
      f(tag, std::false_type{});
  });
}

}  // namespace hgfast::cuda
