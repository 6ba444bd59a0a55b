// Packs float32 OIHW weights for the convolution kernels: one row per output channel, K-major, in the order in which
// the kernels step through K; tails are zero; float32 is rounded to tf32, if it will not be split into two of them.
//
// GEMM layout: [k][step][element], a step being 128 bytes: for each filter tap (row, column) the channels in blocks,
// then the blocks of the extra 1x1 input. Small-input layout (cuda/conv_small.cuh): [k][tap][c], no padding between
// taps, the row padded to kSmallK<T> elements. One thread an element, once per model: not a hot kernel.
#pragma once

#include "cuda/conv_choice.cuh"
#include "cuda/pack.cuh"
#include "cuda/ptx.cuh"

namespace hgfast::cuda {

// Elements of a packed row.
template <class T>
int64_t packed_row(const ConvShape& s) {
  return runs_small(s) ? kSmallK<T> : ConvSteps(s, kBlockK<T>).total() * int64_t{kBlockK<T>};
}

template <class T>
HG_DEV T packed_value(float v, bool exact) {
  if constexpr (std::is_same_v<T, float>)
    return exact ? v : __uint_as_float(ptx::to_tf32(v));
  else
    return from_float<T>(v);
}

template <class T>
__global__ void conv_pack_kernel(const float* weight, const float* extra, T* packed, int64_t rows, int row_elements,
                                 int c, int extra_c, int c_padded, int taps, bool exact) {
  const int64_t total = rows * row_elements;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t k = i / row_elements;
    const int at = static_cast<int>(i % row_elements), tap = at / c_padded, channel = at % c_padded;
    const int extra_channel = at - taps * c_padded;
    float v = 0.f;
    if (tap < taps) {
      if (channel < c) v = weight[(k * c + channel) * taps + tap];
    } else if (extra_channel < extra_c) {
      v = extra[k * extra_c + extra_channel];
    }
    packed[i] = packed_value<T>(v, exact);
  }
}

template <class T>
void launch_conv_pack(const ConvPack& a, Exec stream) {
  const ConvShape& s = a.shape;
  const int64_t row = packed_row<T>(s);
  const int64_t c_padded = runs_small(s) ? s.c : ceil_div(s.c, kBlockK<T>) * kBlockK<T>;
  launch(conv_pack_kernel<T>, grid_for(s.k * row), dim3(kThreads), 0, stream, a.weight, a.extra,
         static_cast<T*>(a.packed), s.k, static_cast<int>(row), static_cast<int>(s.c), static_cast<int>(s.extra_c),
         static_cast<int>(c_padded), static_cast<int>(s.kernel * s.kernel), is_exact(s));
}

}  // namespace hgfast::cuda
