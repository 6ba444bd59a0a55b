// Backward of batch_norm_act: one launch for the sums, one that makes the gradient of x.
//
// g = grad (+ grad2) where ReLU let through. Reduce: bias_grad = sum g, weight_grad = sum g * (x - mean) / std, float32
// within a chunk, merged by the last block (batch_norm_sums.cuh); it writes g where the residual wants it. Apply:
// x_grad = scale * (g - bias_grad / count - (x - mean) / std * weight_grad / count), whose five numbers of a channel a
// block works out while its first rows are on their way. So do the sums of several processes, which come from outside.
//
// Bound by DRAM bandwidth. Bytes, each a tensor: reduce 2 reads (+1 read for grad2, +1 write for g; 6 operations an
// element), apply 2 reads (+1 for addend) and 1 write (8). Loads on their way: 8 of 16 bytes a thread, 512 threads a
// multiprocessor (128 registers a thread): 64 KiB, of which an H200 needs 25 KB (see batch_norm_act.cuh). Behind the
// last row reduce waits for two rounds of tickets and merging, about 3 us. Computed, not measured.
#pragma once

#include "cuda/batch_norm_act.cuh"

namespace hgfast::cuda {

// Blocks of a multiprocessor for which registers must do.
template <class T>
constexpr int kGradientBlocks = sizeof(T) == 8 ? 1 : 2;
// Octets of each tensor that a thread of apply has on their way: with an addend a fourth one would not fit.
template <class T, NormWay kWay>
constexpr int kManyToApply = kMany<T, kWay> < 3 ? kMany<T, kWay> : 3;

// What a backward kernel reads of one octet.
template <class T>
struct GradientIn {
  RawOctet<T> grad, x, grad2, residual, addend;
  unsigned bits;
};

template <class T, NormWay kWay>
struct GradientReader {
  static constexpr bool kAny = kWay == NormWay::kAny;
  const BatchNormGradient& p;
  const NormRows& s;
  const void* addend;

  HG_DEV GradientIn<T> operator()(const Place& place) const {
    GradientIn<T> in{{}, {}, {}, {}, {}, 0xff};
    in.grad = octet(p.grad, place);
    in.x = octet(p.x, place);
    if (addend) in.addend = octet(addend, place);
    if (kWay == NormWay::kResidual || (kAny && p.residual)) in.residual = octet(p.residual, place);
    if (kAny && p.grad2) in.grad2 = octet(p.grad2, place);
    if (kAny && p.gate == ReluGate::kMask)
      in.bits = static_cast<const unsigned char*>(p.mask)[place.row * s.mask_row_bytes + place.octet];
    return in;
  }
  HG_DEV RawOctet<T> octet(const void* tensor, const Place& place) const {
    return load_raw(static_cast<const T*>(tensor) + place.at, s.count(place.octet), !kAny || s.packed);
  }
};

// g and x - mean of one octet. a: the numbers of affine_of.
template <class T, NormWay kWay>
struct GatedOctet {
  Octet<T> g, centred;

  template <class Numbers>
  HG_DEV GatedOctet(const BatchNormGradient& p, const GradientIn<T>& in, const Numbers& a)
      : g(expand(in.grad)), centred(expand(in.x)) {
    constexpr bool kAny = kWay == NormWay::kAny;
    const bool with_grad2 = kAny && p.grad2, with_residual = kWay == NormWay::kResidual || (kAny && p.residual);
    const bool recompute = p.gate == ReluGate::kRecompute;
    const Octet<T> grad2 = expand(in.grad2), residual = expand(in.residual);
#pragma unroll
    for (int k = 0; k < kOctet; ++k) {
      centred.v[k] -= a.at(kMean, k);
      if (with_grad2) g.v[k] += grad2.v[k];
      auto y = centred.v[k] * a.at(kScale, k) + a.at(kBias, k);
      if (with_residual) y += residual.v[k];
      if ((kAny && !(in.bits >> k & 1)) || (recompute && y <= 0)) g.v[k] = 0;
    }
  }
};

template <class T, bool kNHWC, NormWay kWay>
__global__ void __launch_bounds__(kThreads, kGradientBlocks<T>)
    batch_norm_backward_reduce_kernel(BatchNormBackwardReduce p, NormRows s, BatchNormChunks chunks) {
  using S = Scalar<T>;
  const ChunkOfBlock mine(chunks);
  ChannelNumbers<S, kInverse, kNHWC> a;
  const auto make = [&](int channel, S* numbers) {
    S all[kAffineNumbers];
    affine_of(p.gradient, channel, all);
#pragma unroll
    for (int i = 0; i < kInverse; ++i) numbers[i] = all[i];
  };
  const auto begin = [&] {
    if constexpr (kNHWC)
      a.of_block(mine.unit * blockDim.x * kOctet, s.c, make);
    else
      a.of_channel(mine.unit, make);
  };
  S sum[kOctet] = {}, product[kOctet] = {};
  walk_chunk<kNHWC, kMany<T, kWay>>(s, chunks, mine, GradientReader<T, kWay>{p.gradient, s, nullptr}, begin,
                                    [&](const Place& place, const GradientIn<T>& read) {
                                      const GatedOctet<T, kWay> in(p.gradient, read, a);
                                      if (p.masked)
                                        store_octet(static_cast<T*>(p.masked) + place.at, in.g, s.count(place.octet),
                                                    kWay != NormWay::kAny || s.packed);
#pragma unroll
                                      for (int k = 0; k < kOctet; ++k) {  // g is 0 past the end of a row
                                        sum[k] += in.g.v[k];
                                        product[k] += in.g.v[k] * in.centred.v[k];
                                      }
                                    });
  const Pair<S> pair = sums_of_block<S, kNHWC>(sum, product);
  const auto merge = [](const Parts<S>& parts, int count, int, int) {
    ExactSum<S> sums, products;
#pragma unroll 8
    for (int i = 0; i < count; ++i) {
      const Pair<S> part = parts[i];
      sums.add(part.first);
      products.add(part.second);
    }
    return Pair<S>{sums.value(), products.value()};
  };
  merge_sums<S, kNHWC>(chunks, mine, s.c, p.workspace, p.tickets, pair, merge, [&](int channel, const Pair<S>& all) {
    const S spread = static_cast<const S*>(p.gradient.var)[channel] + static_cast<S>(p.gradient.eps);
    static_cast<S*>(p.bias_grad)[channel] = all.first;
    static_cast<S*>(p.weight_grad)[channel] = all.second / sqrt(spread);
  });
}

// x_grad = scale * g + slope * (x - mean) + offset. Of a channel: what affine_of gives, with slope for the inverse.
enum : int { kSlope = kInverse, kOffset, kLineNumbers };

template <class S>
HG_DEV void line_of(const BatchNormBackwardApply& p, int channel, S* numbers) {
  affine_of(p.gradient, channel, numbers);
  const S inverse = numbers[kInverse];
  numbers[kSlope] = numbers[kOffset] = 0;
  if (!p.batch_statistics) return;
  const S scale = numbers[kScale] / static_cast<S>(p.count);
  numbers[kSlope] = -scale * inverse * static_cast<const S*>(p.weight_grad)[channel];
  numbers[kOffset] = -scale * static_cast<const S*>(p.bias_grad)[channel];
}

template <class T, bool kNHWC, NormWay kWay>
__global__ void __launch_bounds__(kThreads, kGradientBlocks<T>)
    batch_norm_backward_apply_kernel(BatchNormBackwardApply p, NormRows s) {
  using S = Scalar<T>;
  using Numbers = ChannelNumbers<S, kLineNumbers, kNHWC>;
  for_each_octet<Numbers, kNHWC, kManyToApply<T, kWay>>(
      s, GradientReader<T, kWay>{p.gradient, s, p.addend},
      [&](int channel, S* numbers) { line_of(p, channel, numbers); },
      [&](const Place& place, const GradientIn<T>& read, const Numbers& line) {
        GatedOctet<T, kWay> in(p.gradient, read, line);
        const Octet<T> addend = expand(read.addend);
#pragma unroll
        for (int k = 0; k < kOctet; ++k) {
          in.g.v[k] = line.at(kScale, k) * in.g.v[k] + (line.at(kSlope, k) * in.centred.v[k] + line.at(kOffset, k));
          if (p.addend) in.g.v[k] += addend.v[k];
        }
        store_octet(static_cast<T*>(p.x_grad) + place.at, in.g, s.count(place.octet),
                    kWay != NormWay::kAny || s.packed);
      });
}

template <class T>
NormRows rows_of(const BatchNormGradient& p, const void* output, const void* addend = nullptr) {
  return NormRows(p.shape, can_use_packs<T>(p.shape.run(), p.grad, p.grad2, p.x, p.residual, output, addend));
}

inline NormWay way_of(const BatchNormGradient& p, const NormRows& s) {
  if (!s.packed || p.grad2 || p.gate == ReluGate::kMask) return NormWay::kAny;
  return p.residual ? NormWay::kResidual : NormWay::kPlain;
}

template <class T, bool kNHWC>
void launch_batch_norm_backward_reduce(const BatchNormBackwardReduce& p, Exec stream) {
  const NormRows s = rows_of<T>(p.gradient, p.masked);
  const BatchNormChunks chunks(p.gradient.shape);
  const dim3 grid(static_cast<unsigned>(chunks.blocks())), block = block_of_sums(chunks, kNHWC);
  dispatch_way<T>(way_of(p.gradient, s), [&](auto way) {
    launch(batch_norm_backward_reduce_kernel<T, kNHWC, way>, grid, block, 0, stream, p, s, chunks);
  });
}

template <class T, bool kNHWC>
void launch_batch_norm_backward_apply(const BatchNormBackwardApply& p, Exec stream) {
  const NormRows s = rows_of<T>(p.gradient, p.x_grad, p.addend);
  dispatch_way<T>(way_of(p.gradient, s), [&](auto way) {
    const dim3 grid = s.grid(kNHWC, kNHWC ? kManyToApply<T, way> : 1);
    launch(batch_norm_backward_apply_kernel<T, kNHWC, way>, grid, s.block(), 0, stream, p, s);
  });
}

}  // namespace hgfast::cuda
