// What the BatchNorm kernels share: which thread works on which octets, per-channel coefficients, sums over chunks.
//
// A block is `lanes` threads along a row (up to 32, as many as a short row has octets) by kThreads / lanes rows. NHWC:
// a thread keeps its 8 channels and walks down the rows, coefficients in registers. NCHW: a row is one channel of one
// image and the lanes walk along it together.
#pragma once

#include "common/batch_norm_act.h"
#include "cuda/octet.cuh"

namespace hgfast::cuda {

constexpr int kMaxLanes = 32;
constexpr int kMergeLanes = 32, kMergeGroups = 16;  // merging kernels: channels, and threads that share one's chunks

// Geometry of a call in the integers that kernels want.
struct NormRows {
  int64_t rows;
  int run, octets, lanes, c, chunk_rows;
  int64_t chunks;
  int padded_c, mask_row_bytes;
  bool packed;

  NormRows(const BatchNormShape& s, bool use_packs)
      : rows(s.rows()),
        run(static_cast<int>(s.run())),
        octets((run + kOctet - 1) / kOctet),
        lanes(1),
        c(static_cast<int>(s.c)),
        chunk_rows(static_cast<int>(s.chunk_rows())),
        chunks(s.chunks()),
        padded_c(static_cast<int>(s.padded_c())),
        mask_row_bytes(static_cast<int>(s.mask_row_bytes())),
        packed(use_packs) {
    while (lanes < octets && lanes < kMaxLanes) lanes *= 2;
  }

  dim3 block() const { return dim3(lanes, kThreads / lanes); }
  int octet_groups() const { return (octets + lanes - 1) / lanes; }
  int64_t row_groups() const { return (rows * lanes + kThreads - 1) / kThreads; }

  // For kernels that visit all octets: enough blocks to fill the card, the loops take the rest.
  dim3 grid(bool nhwc) const {
    constexpr int64_t kMaxBlocks = 132 * 16;
    return dim3(static_cast<unsigned>(row_groups() < kMaxBlocks ? row_groups() : kMaxBlocks),
                nhwc ? octet_groups() : 1);
  }
  // For the sums. NHWC: one block for a chunk and 8 * lanes channels. NCHW: a row of threads a plane.
  dim3 sum_grid(bool nhwc) const {
    if (nhwc) return dim3(static_cast<unsigned>(chunks), octet_groups());
    return dim3(static_cast<unsigned>(row_groups()));
  }
  dim3 merge_grid() const { return dim3((c + kMergeLanes - 1) / kMergeLanes); }

  HG_DEV int count(int octet) const { return min(kOctet, run - octet * kOctet); }
  HG_DEV int64_t chunk_count(int64_t chunk, bool nhwc) const {
    if (!nhwc) return run;
    const int64_t left = rows - chunk * chunk_rows;
    return left < chunk_rows ? left : chunk_rows;
  }
};

// mean, weight / sqrt(var + eps) and bias of a thread's channels: 8 of them (NHWC) or one (NCHW).
template <class T, bool kNHWC>
struct Affine {
  static constexpr int kCount = kNHWC ? kOctet : 1;
  Scalar<T> mean[kCount], scale[kCount], bias[kCount], inverse[kCount];

  template <class Problem>
  HG_DEV Affine(const Problem& p, int first_channel, int c) {
    using S = Scalar<T>;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const int channel = first_channel + k < c ? first_channel + k : c - 1;
      mean[k] = static_cast<const S*>(p.mean)[channel];
      inverse[k] = S(1) / sqrt(static_cast<const S*>(p.var)[channel] + static_cast<S>(p.eps));
      scale[k] = p.weight ? static_cast<const S*>(p.weight)[channel] * inverse[k] : inverse[k];
      bias[k] = p.bias ? static_cast<const S*>(p.bias)[channel] : S(0);
    }
  }
};

// f(row, octet, coefficients) for every octet of this thread; coefficients = make(first channel).
template <bool kNHWC, class Make, class F>
HG_DEV void for_each_octet(const NormRows& s, const Make& make, const F& f) {
  const int64_t first = int64_t{blockIdx.x} * blockDim.y + threadIdx.y, step = int64_t{gridDim.x} * blockDim.y;
  if constexpr (kNHWC) {
    const int octet = blockIdx.y * blockDim.x + threadIdx.x;
    if (octet >= s.octets) return;
    const auto coefficients = make(octet * kOctet);
    for (int64_t row = first; row < s.rows; row += step) f(row, octet, coefficients);
  } else {
    for (int64_t row = first; row < s.rows; row += step) {
      const auto coefficients = make(static_cast<int>(row % s.c));
      for (int octet = threadIdx.x; octet < s.octets; octet += blockDim.x) f(row, octet, coefficients);
    }
  }
}

// Two sums a channel over this block's part of the rows; add(row, octet, coefficients, first[8], second[8]) adds one
// octet's terms; done(chunk, channel, first, second) gets each finished pair. The order of the additions is fixed.
template <class T, class Make, class Add, class Done>
HG_DEV void sum_chunk_nhwc(const NormRows& s, const Make& make, const Add& add, const Done& done) {
  using S = Scalar<T>;
  HG_SHARED(S, shared, (2 * kThreads * kOctet));
  const int octet = blockIdx.y * blockDim.x + threadIdx.x;
  S first[kOctet] = {}, second[kOctet] = {};
  if (octet < s.octets) {
    const auto coefficients = make(octet * kOctet);
    const int64_t begin = int64_t{blockIdx.x} * s.chunk_rows, end = begin + s.chunk_count(blockIdx.x, true);
    for (int64_t row = begin + threadIdx.y; row < end; row += blockDim.y) add(row, octet, coefficients, first, second);
  }
  const int channels = blockDim.x * kOctet;
#pragma unroll
  for (int k = 0; k < kOctet; ++k) {
    shared[threadIdx.y * channels + threadIdx.x * kOctet + k] = first[k];
    shared[(blockDim.y + threadIdx.y) * channels + threadIdx.x * kOctet + k] = second[k];
  }
  __syncthreads();
  const int local = threadIdx.y * blockDim.x + threadIdx.x, channel = blockIdx.y * channels + local;
  static_assert(kMaxLanes * kOctet <= kThreads, "there is a thread to finish each channel of the block");
  if (local >= channels || channel >= s.c) return;
  S a = 0, b = 0;
  for (int y = 0; y < static_cast<int>(blockDim.y); ++y) {
    a += shared[y * channels + local];
    b += shared[(blockDim.y + y) * channels + local];
  }
  done(blockIdx.x, channel, a, b);
}

template <class T, class Make, class Add, class Done>
HG_DEV void sum_planes_nchw(const NormRows& s, const Make& make, const Add& add, const Done& done) {
  using S = Scalar<T>;
  HG_SHARED(S, shared, (2 * kThreads));
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  S first[kOctet] = {}, second[kOctet] = {};
  if (row < s.rows) {
    const auto coefficients = make(static_cast<int>(row % s.c));
    for (int octet = threadIdx.x; octet < s.octets; octet += blockDim.x) add(row, octet, coefficients, first, second);
  }
  S a = 0, b = 0;
#pragma unroll
  for (int k = 0; k < kOctet; ++k) {
    a += first[k];
    b += second[k];
  }
  shared[threadIdx.y * blockDim.x + threadIdx.x] = a;
  shared[(blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x] = b;
  __syncthreads();
  if (threadIdx.x != 0 || row >= s.rows) return;
  a = b = 0;
  for (int x = 0; x < static_cast<int>(blockDim.x); ++x) {
    a += shared[threadIdx.y * blockDim.x + x];
    b += shared[(blockDim.y + threadIdx.y) * blockDim.x + x];
  }
  done(row / s.c, static_cast<int>(row % s.c), a, b);
}

template <class T, bool kNHWC, class Make, class Add, class Done>
HG_DEV void sum_rows(const NormRows& s, const Make& make, const Add& add, const Done& done) {
  if constexpr (kNHWC)
    sum_chunk_nhwc<T>(s, make, add, done);
  else
    sum_planes_nchw<T>(s, make, add, done);
}

// The place of a chunk's two sums of a channel in the workspace.
template <class S>
HG_DEV S* chunk_sum(void* workspace, const NormRows& s, int64_t chunk, int which, int channel) {
  return static_cast<S*>(workspace) + (chunk * 2 + which) * s.padded_c + channel;
}

}  // namespace hgfast::cuda
