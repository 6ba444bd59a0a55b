// What the BatchNorm kernels share: which thread works on which octets, how many loads are on their way at a time, and
// the numbers that belong to a channel.
//
// A block is `lanes` threads along a row by kThreads / lanes rows. NHWC: a row is a pixel, a thread keeps its 8
// channels and walks down the rows. NCHW: a row is one channel of one image, and the lanes walk along it together.
#pragma once

#include "common/batch_norm_act.h"
#include "cuda/batch_norm_chunks.h"
#include "cuda/octet.cuh"

namespace hgfast::cuda {

constexpr int kMaxLanes = BatchNormChunks::kMostLanes;
static_assert(kThreads == BatchNormChunks::kBlockThreads && kOctet == BatchNormChunks::kChannelsOfLane);
static_assert(kMaxLanes * kOctet <= kThreads, "there is a thread for each channel of a block");

// Octets of one tensor that a thread loads before it uses the first of them: four loads of 16 bytes.
template <class T>
constexpr int kAtOnce = sizeof(T) == 8   ? 1
                        : sizeof(T) == 4 ? 2
                                         : 4;

// What a kernel is compiled for. kPlain: whole octets at 16-byte boundaries and nothing optional, a tensor more that is
// added apart. kResidual: that with a residual. kAny: what the arguments say.
enum class NormWay { kAny, kPlain, kResidual };

// Octets of each tensor on their way at a time.
template <class T, NormWay kWay>
constexpr int kMany = kWay == NormWay::kPlain                        ? kAtOnce<T>
                      : kWay == NormWay::kResidual && kAtOnce<T> > 1 ? kAtOnce<T> / 2
                                                                     : 1;

// Calls f(integral_constant<NormWay>); double has one way, for it is not made to be fast.
template <class T, bool kWithResidual = true, class F>
void dispatch_way(NormWay way, const F& f) {
  if constexpr (sizeof(T) < sizeof(double)) {
    if (way == NormWay::kPlain) return f(std::integral_constant<NormWay, NormWay::kPlain>{});
    if constexpr (kWithResidual)
      if (way == NormWay::kResidual) return f(std::integral_constant<NormWay, NormWay::kResidual>{});
  }
  f(std::integral_constant<NormWay, NormWay::kAny>{});
}

// Geometry of a call in the integers that kernels want.
struct NormRows {
  int64_t rows;
  int run, octets, lanes, c, mask_row_bytes;
  bool packed;

  NormRows(const BatchNormShape& s, bool use_packs)
      : rows(s.rows()),
        run(static_cast<int>(s.run())),
        octets((run + kOctet - 1) / kOctet),
        lanes(1),
        c(static_cast<int>(s.c)),
        mask_row_bytes(static_cast<int>(s.mask_row_bytes())),
        packed(use_packs) {
    if (s.nhwc())
      while (lanes < octets && lanes < kMaxLanes) lanes *= 2;
    else  // so that each of them has some of a plane
      while (lanes * BatchNormChunks::at_once(s.dtype) < octets && lanes < kThreads) lanes *= 2;
  }

  dim3 block() const { return dim3(lanes, kThreads / lanes); }

  // For kernels that visit all octets: as many blocks as keep every card's multiprocessors at work; loops take the
  // rest.
  dim3 grid(bool nhwc, int rows_at_once) const {
    constexpr int64_t kMaxBlocks = 2048;
    const int groups = nhwc ? (octets + lanes - 1) / lanes : 1, rows_of_block = kThreads / lanes * rows_at_once;
    const int64_t blocks = (rows + rows_of_block - 1) / rows_of_block,
                  most = kMaxBlocks / groups > 0 ? kMaxBlocks / groups : 1;
    return dim3(static_cast<unsigned>(blocks < most ? blocks : most), groups);
  }

  HG_DEV int count(int octet) const { return min(kOctet, run - octet * kOctet); }
};

// An octet: its row, its first element, and which one of the row it is.
struct Place {
  int64_t row, at;
  int octet;
};

// One octet of every step-th row.
struct RowWalk {
  Place place;
  int64_t end, step, elements;  // a step is so many elements

  HG_DEV RowWalk(const NormRows& s, int64_t first, int64_t end, int step, int octet)
      : place{first, first * s.run + octet * kOctet, octet},
        end(octet < s.octets ? end : 0),
        step(step),
        elements(int64_t{step} * s.run) {}

  HG_DEV bool valid() const { return place.row < end; }
  HG_DEV void next() {
    place.row += step;
    place.at += elements;
  }
};

// Every step-th octet of one row.
struct LineWalk {
  Place place;
  int octets, step;

  HG_DEV LineWalk(const NormRows& s, int64_t row, int octet, int step)
      : place{row, row * s.run + octet * kOctet, octet}, octets(row < s.rows ? s.octets : 0), step(step) {}

  HG_DEV bool valid() const { return place.octet < octets; }
  HG_DEV void next() {
    place.octet += step;
    place.at += step * kOctet;
  }
};

// use(place, load(place)) for every place of a walk, kCount loads on their way at a time; begin() once, while the first
// of them are: what it waits for costs no time of its own.
template <int kCount, class Walk, class Load, class Begin, class Use>
HG_DEV void walk_along(Walk walk, const Load& load, const Begin& begin, const Use& use) {
  using In = decltype(load(walk.place));
  Place places[kCount];
  In in[kCount];
  bool all = false;
  const auto load_many = [&] {
    Walk ahead = walk;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i > 0) ahead.next();
      places[i] = ahead.place;
    }
    all = ahead.valid();  // and so are those before it
    if (!all) return;
#pragma unroll
    for (int i = 0; i < kCount; ++i) in[i] = load(places[i]);
    ahead.next();
    walk = ahead;
  };
  load_many();
  begin();
  while (all) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) use(places[i], in[i]);
    load_many();
  }
  for (; walk.valid(); walk.next()) use(walk.place, load(walk.place));
}

// kNumbers numbers for each of a thread's channels: 8 of them (NHWC) or one (NCHW).
template <class S, int kNumbers, bool kNHWC>
struct ChannelNumbers {
  static constexpr int kCount = kNHWC ? kOctet : 1;
  S v[kNumbers][kCount];

  HG_DEV S at(int number, int k) const { return v[number][kNHWC ? k : 0]; }

  // make(channel, numbers) gives those of one channel. NHWC: each thread makes one channel's, all of the block read
  // them from shared memory, 16 bytes at a time; all threads of the block must come here. Channels from `first` on.
  template <class Make>
  HG_DEV void of_block(int first, int c, const Make& make) {
    constexpr int kWidth = kPackWidth<S>, kPacks = kMaxLanes * kOctet / kWidth;
    using Numbers = Pack<S, kWidth>;
    HG_SHARED(Numbers, shared, (kNumbers * kPacks));
    const int local = threadIdx.y * blockDim.x + threadIdx.x;
    if (local < static_cast<int>(blockDim.x) * kOctet) {
      S numbers[kNumbers];
      make(min(first + local, c - 1), numbers);
#pragma unroll
      for (int i = 0; i < kNumbers; ++i) shared[i * kPacks + local / kWidth].v[local % kWidth] = numbers[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kNumbers; ++i) {
#pragma unroll
      for (int part = 0; part < kOctet / kWidth; ++part) {
        const Numbers pack = shared[i * kPacks + threadIdx.x * (kOctet / kWidth) + part];
#pragma unroll
        for (int k = 0; k < kWidth; ++k) v[i][part * kWidth + k] = pack.v[k];
      }
    }
  }
  template <class Make>
  HG_DEV void of_channel(int channel, const Make& make) {
    S numbers[kNumbers];
    make(channel, numbers);
#pragma unroll
    for (int i = 0; i < kNumbers; ++i) v[i][0] = numbers[i];
  }
};

// mean, weight / sqrt(var + eps), bias, 1 / sqrt(var + eps) of a channel.
enum : int { kMean, kScale, kBias, kInverse, kAffineNumbers };
template <class S, class Problem>
HG_DEV void affine_of(const Problem& p, int channel, S* numbers) {
  numbers[kMean] = static_cast<const S*>(p.mean)[channel];
  numbers[kInverse] = S(1) / sqrt(static_cast<const S*>(p.var)[channel] + static_cast<S>(p.eps));
  numbers[kScale] = p.weight ? static_cast<const S*>(p.weight)[channel] * numbers[kInverse] : numbers[kInverse];
  numbers[kBias] = p.bias ? static_cast<const S*>(p.bias)[channel] : S(0);
}

// use(place, load(place), numbers) for every octet; numbers as ChannelNumbers has them.
template <class Numbers, bool kNHWC, int kCount, class Load, class Make, class Use>
HG_DEV void for_each_octet(const NormRows& s, const Load& load, const Make& make, const Use& use) {
  Numbers numbers;
  const auto with_numbers = [&](const Place& place, const auto& in) { use(place, in, numbers); };
  const int64_t first = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int step = gridDim.x * blockDim.y;
  if constexpr (kNHWC) {
    const RowWalk walk(s, first, s.rows, step, blockIdx.y * blockDim.x + threadIdx.x);
    walk_along<kCount>(
        walk, load, [&] { numbers.of_block(blockIdx.y * blockDim.x * kOctet, s.c, make); }, with_numbers);
  } else {
    for (int64_t row = first; row < s.rows; row += step)
      walk_along<kCount>(
          LineWalk(s, row, threadIdx.x, blockDim.x), load,
          [&] { numbers.of_channel(static_cast<int>(row % s.c), make); }, with_numbers);
  }
}

}  // namespace hgfast::cuda
