// Vector access to global memory: Pack<T, kWidth> is loaded and stored with one instruction (16 bytes at most).
#pragma once

#include "cuda/compat.cuh"

namespace hgfast::cuda {

template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T v[kWidth];
};

template <class T>
constexpr int kPackWidth = 16 / sizeof(T);

// May arrays that start at these addresses, with rows of `run` elements, be accessed in 16-byte packs?
template <class T, class... Pointers>
bool can_pack(int64_t run, Pointers... pointers) {
  return run % kPackWidth<T> == 0 && ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

constexpr int kThreads = 256;

// Blocks for a grid-stride loop over `items`.
inline dim3 grid_for(int64_t items) {
  constexpr int64_t kMaxBlocks = 132 * 16;  // several waves of the largest card's SMs; the loop takes the rest
  const int64_t blocks = (items + kThreads - 1) / kThreads;
  return dim3(static_cast<unsigned>(blocks < kMaxBlocks ? (blocks > 0 ? blocks : 1) : kMaxBlocks));
}

}  // namespace hgfast::cuda
