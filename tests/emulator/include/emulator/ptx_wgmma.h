// Twins of csrc/cuda/ptx/wgmma.cuh: asynchronous products of a warpgroup.
#pragma once

#include "emulator/ptx_matrix.h"

namespace hgfast::emu {

struct WgmmaArg {
  float* d;
  int n;
  Element type;
  bool accumulate;
  uint64_t a, b;
  const uint32_t* a_registers;  // null: A is in shared memory
};
void wgmma_fence(Site site);
void wgmma_commit(Site site);
void wgmma_wait(int pending_groups, Site site);
void wgmma(WgmmaArg& arg, Site site);

}  // namespace hgfast::emu

namespace hgfast::cuda::ptx {

inline void wgmma_fence(emu::Site site = emu::Site::here()) { emu::wgmma_fence(site); }
inline void wgmma_commit(emu::Site site = emu::Site::here()) { emu::wgmma_commit(site); }
template <int kPending, int kRegisters>
void wgmma_wait(float (&)[kRegisters], emu::Site site = emu::Site::here()) {
  emu::wgmma_wait(kPending, site);
}

template <class T, int kN>
void wgmma(float (&d)[kN / 2], uint64_t a, uint64_t b, bool accumulate, emu::Site site = emu::Site::here()) {
  static_assert(kN == 64 || kN == 96 || kN == 128 || kN == 192 || kN == 256);
  emu::WgmmaArg arg{d, kN, emu::kElement<T>, accumulate, a, b, nullptr};
  emu::wgmma(arg, site);
}
template <class T, int kN>
void wgmma(float (&d)[kN / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate,
           emu::Site site = emu::Site::here()) {
  static_assert(kN == 64 || kN == 96 || kN == 128 || kN == 192 || kN == 256);
  emu::WgmmaArg arg{d, kN, emu::kElement<T>, accumulate, 0, b, a};
  emu::wgmma(arg, site);
}

}  // namespace hgfast::cuda::ptx
