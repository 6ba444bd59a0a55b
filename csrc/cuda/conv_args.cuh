// What the convolution kernels are told: a Conv with its divisions done on the host.
#pragma once

#include "cuda/conv_choice.cuh"
#include "cuda/conv_epilogue.cuh"
#include "cuda/conv_splitk.cuh"

namespace hgfast::cuda {

// A convolution's input as the loaders see it.
template <class T>
struct ConvInput {
  const T* x;
  int h, w, c, stride;
  bool vectors;  // 16-byte accesses allowed
};

template <class T>
struct ConvArgs {
  ConvInput<T> input, extra;
  const T* weight;
  ConvEpilogue<T> epilogue;
  SplitK split;
  ConvSteps steps;
  int pixels, p, q, k, kernel, pad;
};

template <class T>
ConvEpilogue<T> make_epilogue(const Conv& a) {
  const ConvShape& s = a.shape;
  const bool packed =
      s.k % kVector == 0 && are_aligned(a.bias, a.residual, a.upsample_to, a.y, a.y2, a.scale2, a.shift2);
  const Write<T> write{{static_cast<T*>(a.y), static_cast<T*>(a.y2), a.scale2, a.shift2},
                       static_cast<const T*>(a.upsample_to),
                       static_cast<int>(s.p),
                       static_cast<int>(s.q),
                       static_cast<int>(s.out_h),
                       static_cast<int>(s.out_w)};
  return {{static_cast<int>(s.k), packed},
          {{a.bias}, {{static_cast<const T*>(a.residual)}, {{a.relu != 0}, {write, {}}}}}};
}

// The workspace as its two parts.
inline SplitK make_split(const Conv& a, const ConvChoice& choice, int steps) {
  char* workspace = static_cast<char*>(a.workspace);
  return {choice.splits, static_cast<int>(ceil_div(steps, choice.splits)), reinterpret_cast<uint32_t*>(workspace),
          reinterpret_cast<float*>(workspace + kCounterBytes)};
}

template <class T>
ConvArgs<T> make_conv_args(const Conv& a, const ConvChoice& choice) {
  const ConvShape& s = a.shape;
  auto input = [](const void* x, int64_t h, int64_t w, int64_t c, int64_t stride) {
    return ConvInput<T>{static_cast<const T*>(x), static_cast<int>(h),      static_cast<int>(w),
                        static_cast<int>(c),      static_cast<int>(stride), c % kChunkK<T> == 0 && are_aligned(x)};
  };
  const ConvSteps steps(s, kBlockK<T>);
  return {input(a.x, s.h, s.w, s.c, s.stride),
          input(a.extra_x, s.extra_h, s.extra_w, s.extra_c, s.extra_stride),
          static_cast<const T*>(a.weight),
          make_epilogue<T>(a),
          make_split(a, choice, steps.total()),
          steps,
          static_cast<int>(s.n * s.p * s.q),
          static_cast<int>(s.p),
          static_cast<int>(s.q),
          static_cast<int>(s.k),
          static_cast<int>(s.kernel),
          static_cast<int>((s.kernel - 1) / 2)};
}

}  // namespace hgfast::cuda
