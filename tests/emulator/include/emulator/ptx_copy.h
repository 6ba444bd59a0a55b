// Twins of csrc/cuda/ptx/copy.cuh: cp.async and flags between blocks.
#pragma once

#include "emulator/runtime.h"

namespace hgfast::emu {

void cp_async(uint32_t destination, const void* source, int bytes, int source_bytes, Site site);
void cp_async_commit();
void cp_async_wait(int pending_groups);

}  // namespace hgfast::emu

namespace hgfast::cuda::ptx {

using emu::Site;

inline uint32_t smem_u32(const void* pointer) { return emu::shared_address(pointer); }

inline void cp_async16(uint32_t destination, const void* source, int source_bytes = 16, Site site = Site::here()) {
  emu::cp_async(destination, source, 16, source_bytes, site);
}
inline void cp_async8(uint32_t destination, const void* source, int source_bytes = 8, Site site = Site::here()) {
  emu::cp_async(destination, source, 8, source_bytes, site);
}
inline void cp_async4(uint32_t destination, const void* source, int source_bytes = 4, Site site = Site::here()) {
  emu::cp_async(destination, source, 4, source_bytes, site);
}
inline void cp_async_commit() { emu::cp_async_commit(); }
template <int kPending>
void cp_async_wait() {
  emu::cp_async_wait(kPending);
}

inline uint32_t load_acquire(const uint32_t* flag) { return emu::load_acquire(flag); }
inline void store_release(uint32_t* flag, uint32_t value) { emu::store_release(flag, value); }

}  // namespace hgfast::cuda::ptx
