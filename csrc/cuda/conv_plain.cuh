// The short way of a convolution's results to memory: bias and ReLU on the accumulators as mma left them, rounded
// before they go through shared memory, 16 bytes a store. For results that nothing is added to and that are written
// once; cuda/conv_epilogue.cuh serves all others.
#pragma once

#include "cuda/conv_epilogue.cuh"
#include "cuda/pack.cuh"

namespace hgfast::cuda {

// k: channels, a multiple of kVector; bias may be null; both at 16-byte boundaries.
template <class T>
struct PlainOutput {
  T* y;
  const float* bias;
  int k;
  float least;  // of the results: 0 for ReLU, else -infinity
};

template <class T>
bool takes_plain(const Conv& a) {
  return a.shape.k % kVector == 0 && are_aligned(a.y, a.bias) && a.residual == nullptr && a.upsample_to == nullptr &&
         a.y2 == nullptr;
}

// The bias of a lane's columns: 8 j + 2 (lane % 4) and the one after it, from channel0 on; 0 beyond the last channel.
template <int kJ, class T>
HG_DEV void load_bias(const PlainOutput<T>& out, int channel0, int lane, float (&bias)[kJ][2]) {
#pragma unroll
  for (int j = 0; j < kJ; ++j) {
    const int channel = channel0 + 8 * j + 2 * (lane % 4);
    Pack<float, 2> two{};
    if (out.bias != nullptr && channel < out.k) two = *reinterpret_cast<const Pack<float, 2>*>(out.bias + channel);
    bias[j][0] = two.v[0], bias[j][1] = two.v[1];
  }
}

// Two results, rounded, none of them below `least`; NaN stays.
template <class T>
HG_DEV Pack<T, 2> finish_pair(float a, float b, float least) {
  Pack<T, 2> two;
  if constexpr (std::is_same_v<T, float>) {
    two.v[0] = a < least ? least : a, two.v[1] = b < least ? least : b;
  } else if constexpr (std::is_same_v<T, __half>) {
    const __half2 result = __hmax2_nan(__floats2half2_rn(a, b), __float2half2_rn(least));
    memcpy(&two, &result, sizeof(two));
  } else {
    const __nv_bfloat162 result = __hmax2_nan(__floats2bfloat162_rn(a, b), __float2bfloat162_rn(least));
    memcpy(&two, &result, sizeof(two));
  }
  return two;
}

// How a warp writes 16 rows of 8 kJ columns: kPacks a row, kRows rows at once, kParts times.
template <class T, int kJ>
struct PlainRows {
  static constexpr int kWidth = kPackWidth<T>, kPacks = 8 * kJ / kWidth, kRows = 32 / kPacks, kParts = 16 / kRows;

  HG_DEV static int row(int part, int lane) { return lane / kPacks + part * kRows; }
};

// A warp writes 16 rows of 8 kJ columns from channel0 on, d[j] as described in cuda/mma.cuh, through a slab of its own;
// at[part]: where the row PlainRows::row(part, lane) begins in y, or -1.
template <class T, int kJ, int kParts>
HG_DEV void store_plain(const PlainOutput<T>& out, const float (&d)[kJ][4], const float (&bias)[kJ][2], T* slab,
                        int channel0, int lane, const int (&at)[kParts]) {
  using Rows = PlainRows<T, kJ>;
  static_assert(kParts == Rows::kParts);
  constexpr int kPitch = 8 * kJ + 8;  // 16-byte rows in different banks
#pragma unroll
  for (int j = 0; j < kJ; ++j)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<Pack<T, 2>*>(slab + (lane / 4 + 8 * half) * kPitch + 8 * j + 2 * (lane % 4)) =
          finish_pair<T>(d[j][2 * half] + bias[j][0], d[j][2 * half + 1] + bias[j][1], out.least);
  __syncwarp();
  const int column = lane % Rows::kPacks * Rows::kWidth;
  using P = Pack<T, Rows::kWidth>;
#pragma unroll
  for (int part = 0; part < kParts; ++part)
    if (at[part] >= 0 && channel0 + column < out.k)
      *reinterpret_cast<P*>(out.y + at[part] + channel0 + column) =
          *reinterpret_cast<const P*>(slab + Rows::row(part, lane) * kPitch + column);
  __syncwarp();
}

}  // namespace hgfast::cuda
