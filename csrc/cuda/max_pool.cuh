// 2x2 max-pooling of stride 2 over NHWC, with the optional second output ReLU(scale2 y + shift2).
//
// One thread an output pixel's 8 channels (16-byte accesses where C % 8 == 0), grid-stride loop. Bytes: x once, y and
// y2 once; bound by DRAM bandwidth. NaN wins, as in torch. Limits: none. Status: compiled and run under the host
// emulator; not yet run on a GPU.
#pragma once

#include "cuda/octet.cuh"

namespace hgfast::cuda {

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
      for (int k = 0; k < kOctet; ++k)
        best.v[k] = best.v[k] > other.v[k] || best.v[k] != best.v[k] ? best.v[k] : other.v[k];
    }
    store_octet(y + pixel * c + channel, best, count, packed);
    if (y2 == nullptr) continue;
#pragma unroll
    for (int k = 0; k < kOctet; ++k) {
      const float v = k < count ? scale2[channel + k] * best.v[k] + shift2[channel + k] : 0.f;
      best.v[k] = v < 0.f ? 0.f : v;
    }
    store_octet(y2 + pixel * c + channel, best, count, packed);
  }
}

template <class T>
void launch_max_pool(const MaxPool& p, Exec stream) {
  const int64_t octets = (p.c + kOctet - 1) / kOctet;
  launch(max_pool_kernel<T>, grid_for(p.n * (p.h / 2) * (p.w / 2) * octets), dim3(kThreads), 0, stream,
         static_cast<const T*>(p.x), static_cast<T*>(p.y), p.scale2, p.shift2, static_cast<T*>(p.y2), p.n,
         static_cast<int>(p.h), static_cast<int>(p.w), static_cast<int>(p.c), can_use_packs<T>(p.c, p.x, p.y, p.y2));
}

}  // namespace hgfast::cuda
