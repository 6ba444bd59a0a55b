// out = skip + nearest2x(low), and its backward: grad_low = sum of grad over each 2x2 cell.
//
// Layout: NHWC with kWidth channels a thread (one 16-byte access), or NCHW with one element a thread (kWidth = 1, the
// "channel" loop is then the column). Grid-stride loops, no shared memory: the 3 further uses of a `low` pixel hit in
// L2. Bytes: forward 2.25 * size(out), backward 1.25 * size(grad). FLOPs: 1 addition per element. Bound by DRAM
// bandwidth. Limits: any size; the sum is taken in float32 and rounded once.
#pragma once

#include "cuda/pack.cuh"

namespace hgfast::cuda {

// Both layouts are (outer, h, w, inner): NHWC has outer = n, inner = c; NCHW has outer = n * c, inner = 1.
struct MergeShape {
  int64_t outer;
  int h, w, low_h, low_w, packs;  // packs: inner / kWidth

  template <class Problem>
  MergeShape(const Problem& p, int width)
      : outer(p.layout == Layout::kNHWC ? p.n : p.n * p.c),
        h(static_cast<int>(p.h)),
        w(static_cast<int>(p.w)),
        low_h(static_cast<int>(p.low_h())),
        low_w(static_cast<int>(p.low_w())),
        packs(p.layout == Layout::kNHWC ? static_cast<int>(p.c) / width : 1) {}
};

template <class T, int kWidth>
__global__ void upsample_add_kernel(const T* skip, const T* __restrict__ low, T* out, MergeShape s) {
  using P = Pack<T, kWidth>;
  const int64_t total = s.outer * s.h * s.w * s.packs;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t pixel = i / s.packs, row = pixel / s.w;
    const int pack = static_cast<int>(i % s.packs), x = static_cast<int>(pixel % s.w), y = static_cast<int>(row % s.h);
    const int64_t source = (((row / s.h) * s.low_h + y / 2) * s.low_w + x / 2) * s.packs + pack;
    P a = reinterpret_cast<const P*>(skip)[i];
    const P b = reinterpret_cast<const P*>(low)[source];
#pragma unroll
    for (int k = 0; k < kWidth; ++k) a.v[k] = from_float<T>(to_float(a.v[k]) + to_float(b.v[k]));
    reinterpret_cast<P*>(out)[i] = a;
  }
}

template <class T, int kWidth>
__global__ void upsample_add_backward_kernel(const T* __restrict__ grad, T* __restrict__ grad_low, MergeShape s) {
  using P = Pack<T, kWidth>;
  const int64_t total = s.outer * s.low_h * s.low_w * s.packs;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t pixel = i / s.packs, row = pixel / s.low_w;
    const int pack = static_cast<int>(i % s.packs);
    const int x = 2 * static_cast<int>(pixel % s.low_w), y = 2 * static_cast<int>(row % s.low_h);
    float sum[kWidth] = {};
#pragma unroll
    for (int cell = 0; cell < 4; ++cell) {
      const int yy = y + cell / 2, xx = x + cell % 2;
      if (yy < s.h && xx < s.w) {
        const P g = reinterpret_cast<const P*>(grad)[(((row / s.low_h) * s.h + yy) * s.w + xx) * s.packs + pack];
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum[k] += to_float(g.v[k]);
      }
    }
    P result;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) result.v[k] = from_float<T>(sum[k]);
    reinterpret_cast<P*>(grad_low)[i] = result;
  }
}

// Calls run(integral_constant<int, kWidth>) with 16-byte packs where channels and addresses allow, else single
// elements.
template <class T, class Problem, class F, class... Pointers>
void with_pack_width(const Problem& p, const F& run, Pointers... pointers) {
  if (p.layout == Layout::kNHWC && can_pack<T>(p.c, pointers...))
    run(std::integral_constant<int, kPackWidth<T>>{});
  else
    run(std::integral_constant<int, 1>{});
}

template <class T>
void launch_upsample_add(const UpsampleAdd& p, Exec stream) {
  with_pack_width<T>(
      p,
      [&](auto width) {
        const MergeShape s(p, width);
        launch(upsample_add_kernel<T, width>, grid_for(s.outer * s.h * s.w * s.packs), dim3(kThreads), 0, stream,
               static_cast<const T*>(p.skip), static_cast<const T*>(p.low), static_cast<T*>(p.out), s);
      },
      p.skip, p.low, p.out);
}

template <class T>
void launch_upsample_add_backward(const UpsampleAddBackward& p, Exec stream) {
  with_pack_width<T>(
      p,
      [&](auto width) {
        const MergeShape s(p, width);
        launch(upsample_add_backward_kernel<T, width>, grid_for(s.outer * s.low_h * s.low_w * s.packs), dim3(kThreads),
               0, stream, static_cast<const T*>(p.grad), static_cast<T*>(p.grad_low), s);
      },
      p.grad, p.grad_low);
}

}  // namespace hgfast::cuda
