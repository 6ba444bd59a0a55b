// Tensor memory accelerator (sm_90): one thread copies a box of a tensor between global and shared memory.
// Coordinates start with the innermost dimension. Out-of-range elements load as zeros and are not stored.
#pragma once

#include <cuda.h>

#include "cuda/compat.cuh"

namespace hgfast::cuda::ptx {

using TensorMap = CUtensorMap;

HG_DEV void prefetch_tensor_map(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

#define HG_TMA_LOAD(RANK, MODE) \
  "cp.async.bulk.tensor." #RANK "d.shared::cluster.global." MODE ".mbarrier::complete_tx::bytes [%0], [%1, {"

// Loads a tile; the mbarrier receives the tile's bytes (out-of-range elements count too).
HG_DEV void tma_load(uint32_t destination, const TensorMap* map, uint32_t barrier, int c0, int c1) {
  asm volatile(HG_TMA_LOAD(2, "tile") "%3, %4}], [%2];" ::"r"(destination), "l"(map), "r"(barrier), "r"(c0), "r"(c1)
               : "memory");
}
HG_DEV void tma_load(uint32_t destination, const TensorMap* map, uint32_t barrier, int c0, int c1, int c2) {
  asm volatile(HG_TMA_LOAD(3, "tile") "%3, %4, %5}], [%2];" ::"r"(destination), "l"(map), "r"(barrier), "r"(c0),
               "r"(c1), "r"(c2)
               : "memory");
}
HG_DEV void tma_load(uint32_t destination, const TensorMap* map, uint32_t barrier, int c0, int c1, int c2, int c3) {
  asm volatile(HG_TMA_LOAD(4, "tile") "%3, %4, %5, %6}], [%2];" ::"r"(destination), "l"(map), "r"(barrier), "r"(c0),
               "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}

// Loads `pixels` consecutive output pixels of an im2col map over (C, W, H, N), starting with the filter's base pixel
// (w, h) of image n, for the filter tap (tap_w, tap_h).
HG_DEV void tma_load_im2col(uint32_t destination, const TensorMap* map, uint32_t barrier, int c, int w, int h, int n,
                            int tap_w, int tap_h) {
  asm volatile(HG_TMA_LOAD(4, "im2col") "%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(destination), "l"(map), "r"(barrier),
               "r"(c), "r"(w), "r"(h), "r"(n), "h"(static_cast<uint16_t>(tap_w)), "h"(static_cast<uint16_t>(tap_h))
               : "memory");
}
#undef HG_TMA_LOAD

// Stores a tile. The writer of the tile runs fence_proxy_async before (and a barrier, if other threads wrote it).
#define HG_TMA_STORE(RANK) "cp.async.bulk.tensor." #RANK "d.global.shared::cta.tile.bulk_group [%0, {"
HG_DEV void tma_store(const TensorMap* map, uint32_t source, int c0, int c1) {
  asm volatile(HG_TMA_STORE(2) "%2, %3}], [%1];" ::"l"(map), "r"(source), "r"(c0), "r"(c1) : "memory");
}
HG_DEV void tma_store(const TensorMap* map, uint32_t source, int c0, int c1, int c2) {
  asm volatile(HG_TMA_STORE(3) "%2, %3, %4}], [%1];" ::"l"(map), "r"(source), "r"(c0), "r"(c1), "r"(c2) : "memory");
}
HG_DEV void tma_store(const TensorMap* map, uint32_t source, int c0, int c1, int c2, int c3) {
  asm volatile(HG_TMA_STORE(4) "%2, %3, %4, %5}], [%1];" ::"l"(map), "r"(source), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}
#undef HG_TMA_STORE

HG_DEV void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Waits until at most kPending store groups of this thread still read shared memory (it may be overwritten then).
template <int kPending>
HG_DEV void tma_store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
// Waits until at most kPending store groups of this thread are incomplete.
template <int kPending>
HG_DEV void tma_store_wait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace hgfast::cuda::ptx
