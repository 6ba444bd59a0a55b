// Twins of the warp intrinsics: shuffles, votes, reductions, barriers.
#pragma once

#include <type_traits>

#include "emulator/runtime.h"

namespace hgfast::emu {

enum class Shuffle { kIndex, kXor, kDown, kUp };

template <class T>
struct ShuffleArg {
  T value, result;
  int operand, width;
};

inline int shuffle_source(Shuffle kind, int lane, int operand, int width) {
  const int first = lane & ~(width - 1);
  switch (kind) {
    case Shuffle::kIndex:
      return first | (operand & (width - 1));
    case Shuffle::kXor:
      return (lane ^ operand) < first + width ? lane ^ operand : lane;
    case Shuffle::kDown:
      return lane + operand < first + width ? lane + operand : lane;
    case Shuffle::kUp:
      return lane - operand >= first ? lane - operand : lane;
  }
  return lane;
}

template <class T, Shuffle kKind>
__attribute__((no_sanitize("thread"))) void shuffle_body(void* const* args, uint32_t mask) {
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    auto* mine = static_cast<ShuffleArg<T>*>(args[lane]);
    const int source = shuffle_source(kKind, lane, mine->operand, mine->width);
    if (!(mask >> source & 1)) fail("shuffle: lane %d reads lane %d, which does not take part", lane, source);
    mine->result = static_cast<ShuffleArg<T>*>(args[source])->value;
  }
}

template <Shuffle kKind, class T>
T shuffle(uint32_t mask, T value, int operand, int width, Site site) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (width < 1 || width > 32 || (width & (width - 1))) fail("shuffle: width %d is not a power of two up to 32", width);
  ShuffleArg<T> arg{value, value, operand, width};
  warp_collective(&shuffle_body<T, kKind>, mask, &arg, Convergence::kAnyLine, "__shfl_sync", site);
  return arg.result;
}

enum class Reduce { kAdd, kMin, kMax, kAnd, kOr, kXor };

template <Reduce kKind, class T>
T combine(T a, T b) {
  switch (kKind) {
    case Reduce::kAdd:
      return a + b;
    case Reduce::kMin:
      return b < a ? b : a;
    case Reduce::kMax:
      return a < b ? b : a;
    case Reduce::kAnd:
      return a & b;
    case Reduce::kOr:
      return a | b;
    case Reduce::kXor:
      return a ^ b;
  }
}

template <class T, Reduce kKind>
__attribute__((no_sanitize("thread"))) void reduce_body(void* const* args, uint32_t mask) {
  T total = *static_cast<T*>(args[__builtin_ctz(mask)]);
  for (uint32_t rest = mask & (mask - 1); rest; rest &= rest - 1) {
    total = combine<kKind>(total, *static_cast<T*>(args[__builtin_ctz(rest)]));
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) *static_cast<T*>(args[__builtin_ctz(rest)]) = total;
}

template <Reduce kKind, class T>
T reduce(uint32_t mask, T value, Site site) {
  warp_collective(&reduce_body<T, kKind>, mask, &value, Convergence::kAnyLine, "__reduce_sync", site);
  return value;
}

}  // namespace hgfast::emu

using HgSite = hgfast::emu::Site;

#define HG_EMULATED_SHUFFLE(name, kKind)                                                          \
  template <class T>                                                                              \
  T name(unsigned mask, T value, int argument, int width = 32, HgSite site = HgSite::here()) {    \
    return hgfast::emu::shuffle<hgfast::emu::Shuffle::kKind>(mask, value, argument, width, site); \
  }
HG_EMULATED_SHUFFLE(__shfl_sync, kIndex)
HG_EMULATED_SHUFFLE(__shfl_xor_sync, kXor)
HG_EMULATED_SHUFFLE(__shfl_down_sync, kDown)
HG_EMULATED_SHUFFLE(__shfl_up_sync, kUp)
#undef HG_EMULATED_SHUFFLE

inline unsigned __ballot_sync(unsigned mask, int predicate, HgSite site = HgSite::here()) {
  return hgfast::emu::ballot(mask, predicate != 0, site);
}
inline int __any_sync(unsigned mask, int predicate, HgSite site = HgSite::here()) {
  return hgfast::emu::ballot(mask, predicate != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, HgSite site = HgSite::here()) {
  return hgfast::emu::ballot(mask, predicate == 0, site) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, HgSite site = HgSite::here()) {
  hgfast::emu::sync_warp(mask, site);
}
inline void __syncthreads(HgSite site = HgSite::here()) {
  hgfast::emu::block_barrier(0, 0, hgfast::emu::BarrierMode::kSync, "__syncthreads", site);
}

#define HG_EMULATED_REDUCE(name, kKind)                                        \
  template <class T>                                                           \
  T name(unsigned mask, T value, HgSite site = HgSite::here()) {               \
    return hgfast::emu::reduce<hgfast::emu::Reduce::kKind>(mask, value, site); \
  }
HG_EMULATED_REDUCE(__reduce_add_sync, kAdd)
HG_EMULATED_REDUCE(__reduce_min_sync, kMin)
HG_EMULATED_REDUCE(__reduce_max_sync, kMax)
HG_EMULATED_REDUCE(__reduce_and_sync, kAnd)
HG_EMULATED_REDUCE(__reduce_or_sync, kOr)
HG_EMULATED_REDUCE(__reduce_xor_sync, kXor)
#undef HG_EMULATED_REDUCE
