// Split-K: several blocks share an output tile, each sums a range of K steps and leaves its partial sums in the
// workspace; the block that arrives last adds them up in the order of the splits and finishes the tile. The result does
// not depend on which block is last: deterministic.
//
// Workspace: kCounterBytes of arrival counters, one arrival counter per tile, zero before the first call and left zero
// by every call; then float32 partial sums, [tile][split][value / 4][thread] float4, so that a block writes and reads
// 16 bytes a thread, coalesced, in the order of its own accumulators.
#pragma once

#include "cuda/compat.cuh"

namespace hgfast::cuda {

struct SplitK {
  int splits;  // 1: no workspace is used
  int steps_per_split;
  uint32_t* arrived;  // [tiles]
  float* partial;
};

// kGroups groups of kValues accumulators a thread. use(group): does the group hold any result? (uniform in a warp; the
// others are neither written nor read.) True in every thread of the block that has to finish the tile, with the sums in
// acc. `sync` is a barrier over the kThreads threads that take part; `flag` one shared word.
template <int kGroups, int kValues, int kThreads, class Use, class Sync>
HG_DEV bool reduce_splits(float (&acc)[kGroups][kValues], const SplitK& s, int tile, int split, int thread,
                          uint32_t* flag, const Use& use, const Sync& sync) {
  static_assert(kValues % 4 == 0);
  constexpr int kPacks = kValues / 4, kTilePacks = kGroups * kPacks * kThreads;
  float4* partial = reinterpret_cast<float4*>(s.partial) + static_cast<int64_t>(tile) * s.splits * kTilePacks + thread;
#pragma unroll
  for (int g = 0; g < kGroups; ++g)
    if (use(g))
#pragma unroll
      for (int i = 0; i < kPacks; ++i)
        partial[split * int64_t{kTilePacks} + (g * kPacks + i) * kThreads] =
            make_float4(acc[g][4 * i], acc[g][4 * i + 1], acc[g][4 * i + 2], acc[g][4 * i + 3]);
  const uint32_t last = static_cast<uint32_t>(s.splits - 1);
  sync();
  if (thread == 0) {
    __threadfence();  // of all threads' partial sums, which the barrier has ordered before this
    *flag = atomicAdd(&s.arrived[tile], 1u);
    __threadfence();
    if (*flag == last) s.arrived[tile] = 0;
  }
  sync();
  if (*flag != last) return false;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
    if (!use(g)) continue;
#pragma unroll
    for (int i = 0; i < kValues; ++i) acc[g][i] = 0.f;
    for (int from = 0; from < s.splits; ++from) {
#pragma unroll
      for (int i = 0; i < kPacks; ++i) {
        const float4 v = partial[from * int64_t{kTilePacks} + (g * kPacks + i) * kThreads];
        acc[g][4 * i] += v.x, acc[g][4 * i + 1] += v.y, acc[g][4 * i + 2] += v.z, acc[g][4 * i + 3] += v.w;
      }
    }
  }
  return true;
}

}  // namespace hgfast::cuda
