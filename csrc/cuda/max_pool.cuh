// 2x2 max-pooling of stride 2 over NHWC, with the optional second output ReLU(scale2 y + shift2), and its gradient.
//
// Forward: one thread an output pixel's 8 channels; backward: one thread a cell's 8 channels, half cells at the edges
// of odd images included (16-byte accesses where C % 8 == 0), grid-stride loops. Bytes: x once, y and y2 once; backward
// x, grad and the addend once, x_grad once. Bound by DRAM bandwidth. Limits: none. Status: compiled and run under the
// host emulator; not yet run on a GPU.
#pragma once

#include "cuda/octet.cuh"

namespace hgfast::cuda {

// Does b win against a, which comes before it? As torch has it: the first maximum, or the last NaN.
template <class S>
HG_DEV bool beats(S b, S a) {
  return b > a || b != b;
}

template <class T>
__global__ void max_pool_kernel(const T* __restrict__ x, T* __restrict__ y, const float* __restrict__ scale2,
                                const float* __restrict__ shift2, T* __restrict__ y2, int64_t n, int h, int w, int c,
                                bool packed) {
  const int out_h = h / 2, out_w = w / 2, octets = (c + kOctet - 1) / kOctet;
  const int64_t total = n * out_h * out_w * octets;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int channel = static_cast<int>(i % octets) * kOctet, count = min(c - channel, kOctet);
    const int64_t pixel = i / octets, line = pixel / out_w;
    const T* corner = x + ((line / out_h * h + 2 * (line % out_h)) * w + 2 * (pixel % out_w)) * c + channel;
    Octet<T> best = load_octet(corner, count, packed);
#pragma unroll
    for (int cell = 1; cell < 4; ++cell) {
      const Octet<T> other = load_octet(corner + (static_cast<int64_t>(cell / 2) * w + cell % 2) * c, count, packed);
#pragma unroll
      for (int k = 0; k < kOctet; ++k) best.v[k] = beats(other.v[k], best.v[k]) ? other.v[k] : best.v[k];
    }
    store_octet(y + pixel * c + channel, best, count, packed);
    if (y2 == nullptr) continue;
#pragma unroll
    for (int k = 0; k < kOctet; ++k) {
      const Scalar<T> v = k < count ? scale2[channel + k] * best.v[k] + shift2[channel + k] : Scalar<T>(0);
      best.v[k] = v < 0 ? Scalar<T>(0) : v;
    }
    store_octet(y2 + pixel * c + channel, best, count, packed);
  }
}

// One cell's gradient before the addend: `grad` belongs to place winner[k] of channel k.
template <class T>
struct CellGradient {
  Octet<T> grad{};
  int winner[kOctet] = {};

  // x: the cell's first pixel; line: distance of its second row.
  HG_DEV void find_winners(const T* x, int64_t line, int c, int count, bool packed) {
    Octet<T> best = load_octet(x, count, packed);
#pragma unroll
    for (int place = 1; place < 4; ++place) {
      const Octet<T> other = load_octet(x + place / 2 * line + place % 2 * c, count, packed);
#pragma unroll
      for (int k = 0; k < kOctet; ++k) {
        if (!beats(other.v[k], best.v[k])) continue;
        best.v[k] = other.v[k];
        winner[k] = place;
      }
    }
  }
};

template <class T>
__global__ void max_pool_backward_kernel(const T* __restrict__ x, const T* __restrict__ grad,
                                         const T* __restrict__ addend, T* __restrict__ x_grad, int64_t n, int h, int w,
                                         int c, bool packed) {
  const int rows = (h + 1) / 2, columns = (w + 1) / 2, octets = (c + kOctet - 1) / kOctet;
  const int64_t total = n * rows * columns * octets, line = int64_t{w} * c;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int channel = static_cast<int>(i % octets) * kOctet, count = min(c - channel, kOctet);
    const int64_t cell = i / octets, image = cell / columns / rows;
    const int row = static_cast<int>(cell / columns % rows), column = static_cast<int>(cell % columns);
    const int64_t corner = (image * h + 2 * row) * line + 2 * int64_t{column} * c + channel;
    CellGradient<T> mine;
    if (2 * row + 1 < h && 2 * column + 1 < w) {
      mine.find_winners(x + corner, line, c, count, packed);
      mine.grad = load_octet(grad + ((image * (h / 2) + row) * (w / 2) + column) * c + channel, count, packed);
    }
#pragma unroll
    for (int place = 0; place < 4; ++place) {
      if (2 * row + place / 2 >= h || 2 * column + place % 2 >= w) continue;
      const int64_t at = corner + place / 2 * line + place % 2 * c;
      Octet<T> sum = addend == nullptr ? Octet<T>{} : load_octet(addend + at, count, packed);
#pragma unroll
      for (int k = 0; k < kOctet; ++k) sum.v[k] += mine.winner[k] == place ? mine.grad.v[k] : Scalar<T>(0);
      store_octet(x_grad + at, sum, count, packed);
    }
  }
}

template <class T>
void launch_max_pool(const MaxPool& p, Exec stream) {
  const int64_t octets = (p.c + kOctet - 1) / kOctet;
  launch(max_pool_kernel<T>, grid_for(p.n * (p.h / 2) * (p.w / 2) * octets), dim3(kThreads), 0, stream,
         static_cast<const T*>(p.x), static_cast<T*>(p.y), p.scale2, p.shift2, static_cast<T*>(p.y2), p.n,
         static_cast<int>(p.h), static_cast<int>(p.w), static_cast<int>(p.c), can_use_packs<T>(p.c, p.x, p.y, p.y2));
}

template <class T>
void launch_max_pool_backward(const MaxPoolBackward& p, Exec stream) {
  const int64_t octets = (p.c + kOctet - 1) / kOctet;
  launch(max_pool_backward_kernel<T>, grid_for(p.n * ((p.h + 1) / 2) * ((p.w + 1) / 2) * octets), dim3(kThreads), 0,
         stream, static_cast<const T*>(p.x), static_cast<const T*>(p.grad), static_cast<const T*>(p.addend),
         static_cast<T*>(p.x_grad), p.n, static_cast<int>(p.h), static_cast<int>(p.w), static_cast<int>(p.c),
         can_use_packs<T>(p.c, p.x, p.grad, p.addend, p.x_grad));
}

}  // namespace hgfast::cuda
