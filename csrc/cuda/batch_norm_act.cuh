// Forward of batch_norm_act: statistics of a batch, and out = relu((x - mean) * scale + bias + residual).
//
// Statistics, one launch: a block sums d and d * d, d = x - (its chunk's first value), over its chunk; what the blocks
// found, means and squared deviations from them, is merged by the last of them (batch_norm_sums.cuh), which also moves
// the running statistics. Apply, one launch: a block works out scale of its channels, one in a thread, while its first
// rows are on their way; that takes no longer than to read it, and so evaluation and training are the same kernel.
//
// Bound by DRAM bandwidth: 1 read of x (3 additions and products an element), then 1 or 2 reads and 1 write plus 1 bit
// an element (4 operations). Loads on their way: 4 of 16 bytes a thread; statistics in 64 registers, so 1024 threads
// and 64 KiB a multiprocessor, apply in 80, so 768 threads and 48 KiB. An H200 needs 25 KB: 4.8 TB/s for 0.7 us, over
// 132. Behind the last row statistics wait for two rounds of tickets and merging, about 3 us. Computed, not measured.
#pragma once

#include "cuda/batch_norm_sums.cuh"

namespace hgfast::cuda {

// Blocks of a multiprocessor for which registers must do.
template <class T>
constexpr int kStatsBlocks = sizeof(T) == 8 ? 1 : 4;
template <class T>
constexpr int kApplyBlocks = sizeof(T) == 8 ? 1 : 3;

// Pairs of mean and sum of squared deviations of parts: those of all values. The deviations of the parts' means are
// taken from the mean of all, so nothing cancels.
template <class S>
struct MergeMoments {
  const BatchNormChunks& s;

  HG_DEV Pair<S> operator()(const Parts<S>& parts, int count, int number, int part_rows) const {
    const S full = static_cast<S>(int64_t{part_rows} * s.run);
    const S end = static_cast<S>(s.values(number + count - 1, part_rows));  // only the last one may be shorter
    ExactSum<S> sum, squares;
#pragma unroll 8
    for (int i = 0; i < count; ++i) {
      const Pair<S> part = parts[i];
      sum.add_product(i + 1 < count ? full : end, part.first);
      squares.add(part.second);
    }
    const S mean = sum.value() / (static_cast<S>(count - 1) * full + end);
#pragma unroll 8
    for (int i = 0; i < count; ++i) {
      const S d = parts[i].first - mean;
      squares.add((i + 1 < count ? full : end) * d * d);
    }
    return {mean, squares.value()};
  }
};

// Adds to the number of batches; what it was. Units that finish read it while others do.
HG_DEV unsigned long long count_batches(const BatchNormRunning& running, unsigned long long more) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(running.batches), more);
}

HG_DEV double share_of_batch(const BatchNormRunning& running) {
  return running.cumulative ? 1.0 / static_cast<double>(count_batches(running, 0) + 1) : running.momentum;
}

template <class T, bool kNHWC, NormWay kWay>
__global__ void __launch_bounds__(kThreads, kStatsBlocks<T>)
    batch_norm_stats_kernel(BatchNormStats p, NormRows s, BatchNormChunks chunks) {
  using S = Scalar<T>;
  constexpr bool kPlain = kWay == NormWay::kPlain;
  const ChunkOfBlock mine(chunks);
  const T* x = static_cast<const T*>(p.x);
  const int64_t first_row = int64_t{mine.chunk} * chunks.chunk_rows;
  const auto load = [&](const Place& place) {
    return load_raw(x + place.at, s.count(place.octet), kPlain || s.packed);
  };
  const int own_octet = kNHWC ? mine.unit * blockDim.x + threadIdx.x : 0;
  RawOctet<T> first = {};  // NCHW: one value, of the channel
  if (own_octet < s.octets)
    first = kNHWC ? load({first_row, first_row * s.run + own_octet * kOctet, own_octet})
                  : load_raw(x + (first_row * s.c + mine.unit) * s.run, 1, false);
  Octet<T> origin;
  S sum[kOctet] = {}, squares[kOctet] = {};
  walk_chunk<kNHWC, kMany<T, kWay>>(
      s, chunks, mine, load, [&] { origin = expand(first); },
      [&](const Place& place, const RawOctet<T>& raw) {
        const Octet<T> value = expand(raw);
        const int count = kPlain ? kOctet : s.count(place.octet);
#pragma unroll
        for (int k = 0; k < kOctet; ++k) {
          const S d = k < count ? value.v[k] - origin.v[kNHWC ? k : 0] : S(0);
          sum[k] += d;
          squares[k] += d * d;
        }
      });
  Pair<S> pair = sums_of_block<S, kNHWC>(sum, squares);
  const int local = threadIdx.y * blockDim.x + threadIdx.x;
  const int channel = mine.unit * (kNHWC ? blockDim.x * kOctet : 1) + local;
  if (channel < s.c && (kNHWC || local == 0)) {
    const S n = static_cast<S>(chunks.values(mine.chunk, chunks.chunk_rows)), mean = pair.first / n;
    const S deviation = pair.second - pair.first * mean;
    const int64_t at = kNHWC ? first_row * s.run + channel : (first_row * s.c + channel) * s.run;
    pair = {to_scalar(x[at]) + mean, deviation < 0 ? S(0) : deviation};
  }
  const MergeMoments<S> merge{chunks};
  const bool last =
      merge_sums<S, kNHWC>(chunks, mine, s.c, p.workspace, p.tickets, pair, merge, [&](int of, const Pair<S>& all) {
        const double values = static_cast<double>(chunks.rows * chunks.run);
        const S var = all.second / static_cast<S>(values);
        static_cast<S*>(p.mean)[of] = all.first;
        static_cast<S*>(p.var)[of] = var;
        if (!p.running.mean) return;
        S &mean = static_cast<S*>(p.running.mean)[of], &spread = static_cast<S*>(p.running.var)[of];
        const double share = share_of_batch(p.running);
        mean = static_cast<S>(moved(mean, all.first, share));
        spread = static_cast<S>(moved(spread, of_sample(var, values), share));
      });
  // all units have read the number of batches when the last of them counts this one
  if (last && p.running.batches && is_last_unit(chunks, p.tickets) && threadIdx.x == 0 && threadIdx.y == 0)
    count_batches(p.running, 1);
}

template <class T>
struct ApplyIn {
  RawOctet<T> x, residual;
};

template <class T, bool kNHWC, NormWay kWay>
__global__ void __launch_bounds__(kThreads, kApplyBlocks<T>) batch_norm_apply_kernel(BatchNormApply p, NormRows s) {
  using S = Scalar<T>;
  using Numbers = ChannelNumbers<S, kInverse, kNHWC>;
  constexpr bool kAny = kWay == NormWay::kAny;
  const bool packed = !kAny || s.packed, with_mask = kAny && p.mask;
  const bool with_residual = kWay == NormWay::kResidual || (kAny && p.residual);
  for_each_octet<Numbers, kNHWC, kMany<T, kWay>>(
      s,
      [&](const Place& place) {
        ApplyIn<T> in{{}, {}};
        in.x = load_raw(static_cast<const T*>(p.x) + place.at, s.count(place.octet), packed);
        if (with_residual)
          in.residual = load_raw(static_cast<const T*>(p.residual) + place.at, s.count(place.octet), packed);
        return in;
      },
      [&](int channel, S* numbers) {
        S all[kAffineNumbers];
        affine_of(p, channel, all);
#pragma unroll
        for (int i = 0; i < kInverse; ++i) numbers[i] = all[i];
      },
      [&](const Place& place, const ApplyIn<T>& in, const Numbers& a) {
        const int count = kAny ? s.count(place.octet) : kOctet;
        Octet<T> y = expand(in.x);
        const Octet<T> residual = expand(in.residual);
        unsigned bits = 0;
#pragma unroll
        for (int k = 0; k < kOctet; ++k) {
          y.v[k] = (y.v[k] - a.at(kMean, k)) * a.at(kScale, k) + a.at(kBias, k);
          if (with_residual) y.v[k] += residual.v[k];
          if (!(y.v[k] <= 0) && k < count) bits |= 1u << k;
          if (p.relu && y.v[k] < 0) y.v[k] = 0;
        }
        store_octet(static_cast<T*>(p.out) + place.at, y, count, packed);
        if (!with_mask) return;
        unsigned char* mask = static_cast<unsigned char*>(p.mask) + place.row * s.mask_row_bytes + place.octet;
        mask[0] = bits;
        // a row of the mask has an even number of bytes: the last octet also clears the byte that no element owns
        if (place.octet + 1 == s.octets && s.octets % 2 == 1) mask[1] = 0;
      });
}

template <class T, bool kNHWC>
void launch_batch_norm_stats(const BatchNormStats& p, Exec stream) {
  const NormRows s(p.shape, can_use_packs<T>(p.shape.run(), p.x));
  const BatchNormChunks chunks(p.shape);
  const dim3 grid(static_cast<unsigned>(chunks.blocks()));
  dispatch_way<T, false>(s.packed ? NormWay::kPlain : NormWay::kAny, [&](auto way) {
    launch(batch_norm_stats_kernel<T, kNHWC, way>, grid, block_of_sums(chunks, kNHWC), 0, stream, p, s, chunks);
  });
}

template <class T, bool kNHWC>
void launch_batch_norm_apply(const BatchNormApply& p, Exec stream) {
  const NormRows s(p.shape, can_use_packs<T>(p.shape.run(), p.x, p.residual, p.out));
  const NormWay packed_way = p.residual ? NormWay::kResidual : NormWay::kPlain;
  dispatch_way<T>(s.packed && !p.mask ? packed_way : NormWay::kAny, [&](auto way) {
    const dim3 grid = s.grid(kNHWC, kNHWC ? kMany<T, way> : 1);
    launch(batch_norm_apply_kernel<T, kNHWC, way>, grid, s.block(), 0, stream, p, s);
  });
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
