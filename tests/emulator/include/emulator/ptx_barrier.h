// Twins of csrc/cuda/ptx/barrier.cuh: named barriers, mbarriers, proxy fences.
#pragma once

#include "cuda/wait_fault.cuh"
#include "emulator/runtime.h"

namespace hgfast::emu {

void mbarrier_init(uint32_t address, int arrivals);
void mbarrier_arrive(uint32_t address);
void mbarrier_expect_bytes(uint32_t address, int bytes);
void mbarrier_wait(uint32_t address, uint32_t parity, Site site);
void fence_proxy_async();

}  // namespace hgfast::emu

namespace hgfast::cuda::ptx {

inline void named_barrier_sync(int id, int threads, emu::Site site = emu::Site::here()) {
  emu::block_barrier(id, threads, emu::BarrierMode::kSync, "bar.sync", site);
}
inline void named_barrier_arrive(int id, int threads, emu::Site site = emu::Site::here()) {
  emu::block_barrier(id, threads, emu::BarrierMode::kArrive, "bar.arrive", site);
}

inline void mbarrier_init(uint32_t barrier, int arrivals) { emu::mbarrier_init(barrier, arrivals); }
inline void fence_mbarrier_init() {}
inline void mbarrier_arrive(uint32_t barrier) { emu::mbarrier_arrive(barrier); }
inline void mbarrier_arrive_expect_tx(uint32_t barrier, int bytes) {
  emu::mbarrier_expect_bytes(barrier, bytes);
  emu::mbarrier_arrive(barrier);
}
inline void mbarrier_wait(uint32_t barrier, uint32_t parity, WaitFault* = nullptr, emu::Site site = emu::Site::here()) {
  emu::mbarrier_wait(barrier, parity, site);
}
inline void fence_proxy_async() { emu::fence_proxy_async(); }

template <int kRegisters>
void setmaxnreg_dec() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
}
template <int kRegisters>
void setmaxnreg_inc() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
}

}  // namespace hgfast::cuda::ptx
