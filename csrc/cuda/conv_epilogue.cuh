// What happens to the float32 results of a convolution before they reach memory, as small functors applied in order:
// bias, residual, ReLU, and a writer that stores the result, or merges it into the level above (nearest upsampling,
// each result to the 2x2 pixels over it, plus `upsample_to`), and writes BatchNorm-ReLU of the output as a second
// tensor.
//
// A functor works on kCount vectors of 8 channels at a time, so that the loads of all are in flight before the first is
// used. All accesses are 16 bytes where K % 8 == 0 and the addresses allow, else element by element. A warp brings its
// mma accumulators to that form through a slab of shared memory of its own: stage_rows, __syncwarp, finish_rows.
#pragma once

#include "cuda/compat.cuh"
#include "cuda/swizzle.cuh"

namespace hgfast::cuda {

constexpr int kVector = 8;

// 8 channels of one result pixel (index over n, p, q); pixel < 0: nothing there.
struct Place {
  int pixel, channel;
};

// Access to 8 channels of a pixel of a (.., k) tensor.
template <class T>
struct ChannelAccess {
  int k;
  bool packed;  // 16-byte accesses allowed

  struct alignas(16) Vector {
    T v[kVector];
  };

  HG_DEV Vector load(const T* base, int64_t pixel, int channel) const {
    const T* from = base + pixel * k + channel;
    if (packed) return *reinterpret_cast<const Vector*>(from);
    Vector result;
#pragma unroll
    for (int i = 0; i < kVector; ++i) result.v[i] = channel + i < k ? from[i] : from_float<T>(0.f);
    return result;
  }
  HG_DEV void store(T* base, int64_t pixel, int channel, const float (&v)[kVector]) const {
    Vector result;
#pragma unroll
    for (int i = 0; i < kVector; ++i) result.v[i] = from_float<T>(v[i]);
    T* to = base + pixel * k + channel;
    if (packed) {
      *reinterpret_cast<Vector*>(to) = result;
    } else {
#pragma unroll
      for (int i = 0; i < kVector; ++i)
        if (channel + i < k) to[i] = result.v[i];
    }
  }
  // 8 channels of a (k) float32 vector: bias, scale or shift.
  HG_DEV void load_parameters(const float* values, int channel, float (&out)[kVector]) const {
    if (packed) {
      const float4 low = *reinterpret_cast<const float4*>(values + channel);
      const float4 high = *reinterpret_cast<const float4*>(values + channel + 4);
      out[0] = low.x, out[1] = low.y, out[2] = low.z, out[3] = low.w;
      out[4] = high.x, out[5] = high.y, out[6] = high.z, out[7] = high.w;
    } else {
#pragma unroll
      for (int i = 0; i < kVector; ++i) out[i] = channel + i < k ? values[channel + i] : 0.f;
    }
  }
};

template <class T>
struct AddBias {
  const float* bias;

  template <int kCount>
  HG_DEV void operator()(const ChannelAccess<T>& access, const Place (&at)[kCount], float (&v)[kCount][kVector]) const {
    if (bias == nullptr) return;
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      if (at[c].pixel < 0) continue;
      float b[kVector];
      access.load_parameters(bias, at[c].channel, b);
#pragma unroll
      for (int i = 0; i < kVector; ++i) v[c][i] += b[i];
    }
  }
};

template <class T>
struct AddResidual {
  const T* residual;

  template <int kCount>
  HG_DEV void operator()(const ChannelAccess<T>& access, const Place (&at)[kCount], float (&v)[kCount][kVector]) const {
    if (residual == nullptr) return;
    typename ChannelAccess<T>::Vector loaded[kCount];
#pragma unroll
    for (int c = 0; c < kCount; ++c)
      if (at[c].pixel >= 0) loaded[c] = access.load(residual, at[c].pixel, at[c].channel);
#pragma unroll
    for (int c = 0; c < kCount; ++c)
#pragma unroll
      for (int i = 0; i < kVector; ++i)
        if (at[c].pixel >= 0) v[c][i] += to_float(loaded[c].v[i]);
  }
};

template <class T>
struct Relu {
  bool on;

  // Written as a comparison that lets NaN through, as torch's ReLU does.
  static HG_DEV float apply(float v) { return v < 0.f ? 0.f : v; }

  template <int kCount>
  HG_DEV void operator()(const ChannelAccess<T>&, const Place (&)[kCount], float (&v)[kCount][kVector]) const {
    if (!on) return;
#pragma unroll
    for (int c = 0; c < kCount; ++c)
#pragma unroll
      for (int i = 0; i < kVector; ++i) v[c][i] = apply(v[c][i]);
  }
};

// y = v, and y2 = ReLU(scale2 * v + shift2) if there is one.
template <class T>
struct Store {
  T* y;
  T* y2;
  const float *scale2, *shift2;

  HG_DEV void one(const ChannelAccess<T>& access, int64_t pixel, int channel, float (&v)[kVector]) const {
    access.store(y, pixel, channel, v);
    if (y2 == nullptr) return;
    float scale[kVector], shift[kVector];
    access.load_parameters(scale2, channel, scale);
    access.load_parameters(shift2, channel, shift);
#pragma unroll
    for (int i = 0; i < kVector; ++i) v[i] = Relu<T>::apply(scale[i] * v[i] + shift[i]);
    access.store(y2, pixel, channel, v);
  }
};

// Stores each result, or, with upsample_to, the sum of it and upsample_to at the 2x2 output pixels over it (fewer at
// the odd edge). y may be upsample_to: an element is read before it is written, by the same thread.
template <class T>
struct Write {
  Store<T> store;
  const T* upsample_to;
  int p, q, out_h, out_w;

  HG_DEV void merge(const ChannelAccess<T>& access, const Place& at, const float (&v)[kVector]) const {
    const int line = at.pixel / q, x0 = 2 * (at.pixel % q), y0 = 2 * (line % p);
    int64_t pixel = (static_cast<int64_t>(line / p) * out_h + y0) * out_w + x0;
#pragma unroll 1  // a line at a time: registers
    for (int y = y0; y < min(y0 + 2, out_h); ++y, pixel += out_w) {
      const bool pair = x0 + 1 < out_w;
      const auto left = access.load(upsample_to, pixel, at.channel);
      const auto right = pair ? access.load(upsample_to, pixel + 1, at.channel) : left;
      float sum[kVector];
#pragma unroll
      for (int e = 0; e < kVector; ++e) sum[e] = v[e] + to_float(left.v[e]);
      store.one(access, pixel, at.channel, sum);
      if (!pair) continue;
#pragma unroll
      for (int e = 0; e < kVector; ++e) sum[e] = v[e] + to_float(right.v[e]);
      store.one(access, pixel + 1, at.channel, sum);
    }
  }

  template <int kCount>
  HG_DEV void operator()(const ChannelAccess<T>& access, const Place (&at)[kCount], float (&v)[kCount][kVector]) const {
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      if (at[c].pixel < 0) continue;
      if (upsample_to == nullptr)
        store.one(access, at[c].pixel, at[c].channel, v[c]);
      else
        merge(access, at[c], v[c]);
    }
  }
};

// Functors applied in order.
template <class T, class... F>
struct Chain;
template <class T>
struct Chain<T> {
  template <int kCount>
  HG_DEV void operator()(const ChannelAccess<T>&, const Place (&)[kCount], float (&)[kCount][kVector]) const {}
};
template <class T, class First, class... Rest>
struct Chain<T, First, Rest...> {
  First first;
  Chain<T, Rest...> rest;

  template <int kCount>
  HG_DEV void operator()(const ChannelAccess<T>& access, const Place (&at)[kCount], float (&v)[kCount][kVector]) const {
    first(access, at, v);
    rest(access, at, v);
  }
};

template <class T>
struct ConvEpilogue {
  ChannelAccess<T> access;
  Chain<T, AddBias<T>, AddResidual<T>, Relu<T>, Write<T>> chain;

  template <int kCount>
  HG_DEV void operator()(const Place (&at)[kCount], float (&v)[kCount][kVector]) const {
    chain(access, at, v);
  }
};

// A warp's slab of shared memory holds kRows rows of kColumns float32 results on their way from mma fragments to rows
// of 8 channels. Rows are 8 floats longer than they hold: the 16 lanes that write together hit different banks.
template <int kRows, int kColumns>
constexpr int kSlabFloats = kRows * (kColumns + 8);

// Writes 16 rows: d[4 j + e] are mma accumulators as described in cuda/mma.cuh.
template <int kColumns>
HG_DEV void stage_rows(float* slab, const float* d, int lane) {
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float* to = slab + (lane / 4 + 8 * half) * (kColumns + 8) + 8 * j + 2 * (lane % 4);
      *reinterpret_cast<float2*>(to) = make_float2(d[4 * j + 2 * half], d[4 * j + 2 * half + 1]);
    }
}

// For finish_rows in kernels that hold nothing.
struct AddNothing {
  HG_DEV void operator()(int, int, float (&)[kVector]) const {}
};

// A warp finishes 16 staged rows: channels from `channel0`; pixel_of(row) gives the result pixel of row 0..15, or -1.
// kBatch: vectors in flight per lane, against registers. add(row, column, v) may add what the kernel holds already.
template <int kColumns, int kBatch, class T, class PixelOf, class Add>
HG_DEV void finish_rows(const ConvEpilogue<T>& epilogue, const float* slab, int channel0, int lane,
                        const PixelOf& pixel_of, const Add& add) {
  constexpr int kPerRow = kColumns / kVector;
  static_assert(16 * kPerRow % (32 * kBatch) == 0);
#pragma unroll 1
  for (int first = lane; first < 16 * kPerRow; first += 32 * kBatch) {
    Place at[kBatch];
    float v[kBatch][kVector];
#pragma unroll
    for (int c = 0; c < kBatch; ++c) {
      const int id = first + 32 * c, row = id / kPerRow, column = id % kPerRow * kVector;
      at[c].channel = channel0 + column;
      at[c].pixel = at[c].channel < epilogue.access.k ? pixel_of(row) : -1;
      const float4* from = reinterpret_cast<const float4*>(slab + row * (kColumns + 8) + column);
      const float4 low = from[0], high = from[1];
      v[c][0] = low.x, v[c][1] = low.y, v[c][2] = low.z, v[c][3] = low.w;
      v[c][4] = high.x, v[c][5] = high.y, v[c][6] = high.z, v[c][7] = high.w;
      add(row, column, v[c]);
    }
    epilogue(at, v);
  }
}

}  // namespace hgfast::cuda
