// Twins of csrc/cuda/ptx/tma.cuh: bulk copies of boxes of a tensor.
#pragma once

#include <array>

#include "emulator/runtime.h"

namespace hgfast::emu {

// A tensor map before encoding; `rank` dimensions, the innermost first. In im2col mode the box is {channels, pixels}.
struct TensorMap {
  const unsigned char* base = nullptr;
  int rank = 0, element_bytes = 0, swizzle_bytes = 0;
  bool im2col = false;
  std::array<uint64_t, 5> sizes{}, strides{};  // in elements and in bytes
  std::array<uint32_t, 5> box{}, steps{};
  std::array<int, 2> lower{}, upper{};
};

struct TmaCoordinates {
  int rank;
  std::array<int, 5> at;
  std::array<int, 2> tap;
};
void tma_load(uint32_t destination, const TensorMap& map, uint32_t barrier, const TmaCoordinates& where, Site site);
void tma_store(const TensorMap& map, uint32_t source, const TmaCoordinates& where, Site site);
void tma_store_commit();
void tma_store_wait(int pending_groups);

}  // namespace hgfast::emu

namespace hgfast::cuda::ptx {

using TensorMap = emu::TensorMap;

inline void prefetch_tensor_map(const TensorMap*) {}

inline void tma_load(uint32_t destination, const TensorMap* map, uint32_t barrier, int c0, int c1,
                     emu::Site site = emu::Site::here()) {
  emu::tma_load(destination, *map, barrier, {2, {c0, c1}, {}}, site);
}
inline void tma_load(uint32_t destination, const TensorMap* map, uint32_t barrier, int c0, int c1, int c2,
                     emu::Site site = emu::Site::here()) {
  emu::tma_load(destination, *map, barrier, {3, {c0, c1, c2}, {}}, site);
}
inline void tma_load(uint32_t destination, const TensorMap* map, uint32_t barrier, int c0, int c1, int c2, int c3,
                     emu::Site site = emu::Site::here()) {
  emu::tma_load(destination, *map, barrier, {4, {c0, c1, c2, c3}, {}}, site);
}
inline void tma_load_im2col(uint32_t destination, const TensorMap* map, uint32_t barrier, int c, int w, int h, int n,
                            int tap_w, int tap_h, emu::Site site = emu::Site::here()) {
  emu::tma_load(destination, *map, barrier, {4, {c, w, h, n}, {tap_w, tap_h}}, site);
}

inline void tma_store(const TensorMap* map, uint32_t source, int c0, int c1, emu::Site site = emu::Site::here()) {
  emu::tma_store(*map, source, {2, {c0, c1}, {}}, site);
}
inline void tma_store(const TensorMap* map, uint32_t source, int c0, int c1, int c2,
                      emu::Site site = emu::Site::here()) {
  emu::tma_store(*map, source, {3, {c0, c1, c2}, {}}, site);
}
inline void tma_store(const TensorMap* map, uint32_t source, int c0, int c1, int c2, int c3,
                      emu::Site site = emu::Site::here()) {
  emu::tma_store(*map, source, {4, {c0, c1, c2, c3}, {}}, site);
}

inline void tma_store_commit() { emu::tma_store_commit(); }
template <int kPending>
void tma_store_wait_read() {
  emu::tma_store_wait(kPending);
}
template <int kPending>
void tma_store_wait() {
  emu::tma_store_wait(kPending);
}

}  // namespace hgfast::cuda::ptx
