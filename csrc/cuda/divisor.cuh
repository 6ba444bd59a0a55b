// Places in a tensor from the number of an item, without the 64-bit divisions that cost a hundred instructions each.
//
// A divisor that is known at launch becomes a product of 32 by 32 bits and a shift. Index is int wherever all items and
// all packs of a tensor have numbers below 2^31, and int64_t, with true divisions, for tensors beyond that.
#pragma once

#include "cuda/pack.cuh"

namespace hgfast::cuda {

template <class Index>
struct Divisor;

template <>
struct Divisor<int64_t> {
  int64_t divisor;

  explicit Divisor(int64_t d) : divisor(d) {}
  HG_DEV int64_t quotient(int64_t n) const { return n / divisor; }
};

// n / d = n factor / 2^shift with factor = ceil(2^shift / d), shift = 31 + ceil(log2 d): for n < 2^31 the error
// n (factor - 2^shift / d) / 2^shift is below 1 / d.
template <>
struct Divisor<int> {
  int divisor;
  uint32_t factor;
  int shift;

  explicit Divisor(int64_t d) : divisor(static_cast<int>(d > 0 ? d : 1)), shift(31) {
    while ((int64_t{1} << (shift - 31)) < divisor) ++shift;
    factor = static_cast<uint32_t>(((uint64_t{1} << shift) + divisor - 1) / divisor);
  }
  // Of 0 <= n < 2^31.
  HG_DEV int quotient(int n) const {
    return static_cast<int>((static_cast<uint64_t>(static_cast<uint32_t>(n)) * factor) >> shift);
  }
};

// The most packs that int counts, with room for the step of a grid-stride loop.
#ifdef HGFAST_EMULATOR
constexpr int64_t kMostPacks = 1 << 12;  // so that tests meet what no machine of theirs has the memory for
#else
constexpr int64_t kMostPacks = (int64_t{1} << 31) - (int64_t{1} << 20);
#endif

// How a kernel goes through a tensor: kWidth elements of T at a time, counted by Index.
template <class T, int kElements, class Counter>
struct Access {
  using Pack = cuda::Pack<T, kElements>;
  using Index = Counter;
  static constexpr int kWidth = kElements;
};

// Calls run(Access) for tensors of at most `elements` elements: by packs of 16 bytes if they may be, else one by one.
template <class T, class F>
void with_access(bool packs, int64_t elements, const F& run) {
  if (packs && elements / kPackWidth<T> < kMostPacks)
    run(Access<T, kPackWidth<T>, int>{});
  else if (elements < kMostPacks)
    run(Access<T, 1, int>{});
  else
    run(Access<T, 1, int64_t>{});
}

// Runs use(i) for each item of a grid, i an Index.
template <class Index, class F>
HG_DEV void for_each_item(Index total, const F& use) {
  const Index step = static_cast<Index>(gridDim.x) * static_cast<Index>(blockDim.x);
  for (Index i = static_cast<Index>(blockIdx.x) * static_cast<Index>(blockDim.x) + threadIdx.x; i < total; i += step)
    use(i);
}

}  // namespace hgfast::cuda
