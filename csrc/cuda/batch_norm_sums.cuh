// Two sums over each channel in one launch: blocks sum their chunks, the last block to finish merges them.
//
// "Last" is told by tickets in global memory: a block writes its sums, then all its threads meet, then one of them
// makes them visible to the device (__threadfence) and counts the block. Who finds all others counted is last; behind
// another fence its block reads their sums. It also sets the count back to zero, for the next launch on the stream or
// the next replay of the graph. Which block is last does not change the order in which sums are added.
#pragma once

#include "cuda/batch_norm_rows.cuh"
#include "cuda/reduce.cuh"

namespace hgfast::cuda {

template <class S>
struct Pair {
  S first, second;
};

// A sum with what its additions rounded away (Knuth's TwoSum): as exact as in twice the digits, which in double
// consumer cards would take 64 times as long for.
template <class S>
struct ExactSum {
  S sum = 0, lost = 0;

  HG_DEV void add(S value) {
    const S total = sum + value, other = total - sum;
    lost += (sum - (total - other)) + (value - other);
    sum = total;
  }
  // a * b, its rounding too
  HG_DEV void add_product(S a, S b) {
    const S product = a * b;
    add(product);
    lost += fma(a, b, -product);
  }
  HG_DEV S value() const {
    const S total = sum + lost;
    return total == total ? total : sum;  // an infinite sum has lost NaN
  }
};

// The chunk and unit of this block.
struct ChunkOfBlock {
  int unit, chunk;

  HG_DEV explicit ChunkOfBlock(const BatchNormChunks& s) : unit(blockIdx.x % s.units), chunk(blockIdx.x / s.units) {}
};

inline dim3 block_of_sums(const BatchNormChunks& s, bool nhwc) {
  return nhwc ? dim3(s.lanes, kThreads / s.lanes) : dim3(kThreads);
}

// Every kThreads-th octet of a chunk's planes of one channel, numbered through.
struct PlaneWalk {
  Place place;
  int image, images, octets, step_images, step_octets, c, channel, run;

  HG_DEV PlaneWalk(const NormRows& s, const BatchNormChunks& chunks, const ChunkOfBlock& mine)
      : image(mine.chunk * chunks.chunk_rows + threadIdx.x / s.octets),
        images(static_cast<int>(min(chunks.rows, (mine.chunk + int64_t{1}) * chunks.chunk_rows))),
        octets(s.octets),
        step_images(kThreads / s.octets),
        step_octets(kThreads % s.octets),
        c(s.c),
        channel(mine.unit),
        run(s.run) {
    place.octet = threadIdx.x % s.octets;
    find();
  }

  HG_DEV void find() {
    place.row = int64_t{image} * c + channel;
    place.at = place.row * run + place.octet * kOctet;
  }
  HG_DEV bool valid() const { return image < images; }
  HG_DEV void next() {
    image += step_images;
    place.octet += step_octets;
    if (place.octet >= octets) place.octet -= octets, ++image;
    find();
  }
};

// use(place, load(place)) for the octets of this block's chunk.
template <bool kNHWC, int kCount, class Load, class Begin, class Use>
HG_DEV void walk_chunk(const NormRows& s, const BatchNormChunks& chunks, const ChunkOfBlock& mine, const Load& load,
                       const Begin& begin, const Use& use) {
  if constexpr (kNHWC) {
    const int64_t first = int64_t{mine.chunk} * chunks.chunk_rows,
                  end = first + chunks.values(mine.chunk, chunks.chunk_rows);
    walk_along<kCount>(RowWalk(s, first + threadIdx.y, end, blockDim.y, mine.unit * blockDim.x + threadIdx.x), load,
                       begin, use);
  } else {
    walk_along<kCount>(PlaneWalk(s, chunks, mine), load, begin, use);
  }
}

// The threads' sums added up, in a fixed order; thread i gets those of the unit's channel i.
template <class S, bool kNHWC>
HG_DEV Pair<S> sums_of_block(const S (&first)[kOctet], const S (&second)[kOctet]) {
  if constexpr (kNHWC) {
    constexpr int kWidth = kPackWidth<S>, kParts = kOctet / kWidth;
    using Sums = Pack<S, kWidth>;
    HG_SHARED(Sums, shared, (2 * kThreads * kParts));
    const int local = threadIdx.y * blockDim.x + threadIdx.x, channels = blockDim.x * kOctet;
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        shared[local * kParts + part].v[k] = first[part * kWidth + k];
        shared[(kThreads + local) * kParts + part].v[k] = second[part * kWidth + k];
      }
    }
    __syncthreads();
    Pair<S> sums{0, 0};
    if (local < channels)
      for (int y = 0; y < static_cast<int>(blockDim.y); ++y) {
        const int place = y * channels + local;
        sums.first += shared[place / kWidth].v[place % kWidth];
        sums.second += shared[kThreads * kParts + place / kWidth].v[place % kWidth];
      }
    return sums;
  } else {
    S a = 0, b = 0;
#pragma unroll
    for (int k = 0; k < kOctet; ++k) a += first[k], b += second[k];
    a = block_sum<S, kThreads>(a);
    return {a, block_sum<S, kThreads>(b)};
  }
}

// Counts this block, whose threads all come here; true in all of them if it is the last of `count`.
HG_DEV bool is_last(uint32_t* ticket, int count, uint32_t* flag) {
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    __threadfence();  // what all threads have written, which the barrier has ordered before this
    const uint32_t before = atomicAdd(ticket, 1u);
    __threadfence();
    if (before == static_cast<uint32_t>(count - 1)) *ticket = 0;
    *flag = before == static_cast<uint32_t>(count - 1);
  }
  __syncthreads();
  return *flag != 0;
}

// Pairs of a unit's parts in the workspace, from one part on: of chunks, or of teams.
template <class S>
struct Parts {
  const S* first;
  int padded_c;

  HG_DEV Pair<S> operator[](int i) const {
    const S* pair = first + int64_t{i} * 2 * padded_c;
    return {pair[0], pair[padded_c]};
  }
};

// Hands the block's pair to those of its unit. In the last block of all: done(channel, merged pair), and true.
// merge(parts, count, first part's number, rows of a part) merges pairs.
template <class S, bool kNHWC, class Merge, class Done>
HG_DEV bool merge_sums(const BatchNormChunks& s, const ChunkOfBlock& mine, int c, void* workspace, uint32_t* tickets,
                       const Pair<S>& pair, const Merge& merge, const Done& done) {
  HG_SHARED(uint32_t, flag, 1);
  const int local = threadIdx.y * blockDim.x + threadIdx.x, channels = kNHWC ? blockDim.x * kOctet : 1;
  const int channel = mine.unit * channels + local, team = mine.chunk / BatchNormChunks::kTeam;
  const bool has_channel = local < channels && channel < c;
  uint32_t* const counts = tickets + int64_t{mine.unit} * (s.teams + 1);
  const auto place = [&](int part) { return static_cast<S*>(workspace) + int64_t{part} * 2 * s.padded_c + channel; };
  const auto write = [&](int part, const Pair<S>& value) {
    place(part)[0] = value.first;
    place(part)[s.padded_c] = value.second;
  };
  if (has_channel) write(mine.chunk, pair);
  if (!is_last(counts + team, s.team_size(team), flag)) return false;
  const int first = team * BatchNormChunks::kTeam;
  Pair<S> merged{0, 0};
  if (has_channel) merged = merge(Parts<S>{place(first), s.padded_c}, s.team_size(team), first, s.chunk_rows);
  if (s.teams > 1) {
    if (has_channel) write(s.chunks + team, merged);
    if (!is_last(counts + s.teams, s.teams, flag)) return false;
    if (has_channel)
      merged = merge(Parts<S>{place(s.chunks), s.padded_c}, s.teams, 0, s.chunk_rows * BatchNormChunks::kTeam);
  }
  if (has_channel) done(channel, merged);
  return true;
}

// Whether this block, which has finished its unit, is the last of all units.
HG_DEV bool is_last_unit(const BatchNormChunks& s, uint32_t* tickets) {
  HG_SHARED(uint32_t, flag, 1);
  return is_last(tickets + int64_t{s.units} * (s.teams + 1), s.units, flag);
}

}  // namespace hgfast::cuda
