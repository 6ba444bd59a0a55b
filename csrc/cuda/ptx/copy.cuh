// cp.async (sm_80): 4, 8 or 16 bytes from global to shared memory without passing through registers; plus the ordered
// global accesses that blocks use to signal one another.
#pragma once

#include "cuda/compat.cuh"

namespace hgfast::cuda::ptx {

// The 32-bit shared-window address of a pointer into shared memory.
HG_DEV uint32_t smem_u32(const void* pointer) { return static_cast<uint32_t>(__cvta_generic_to_shared(pointer)); }

// Copies `source_bytes` (0..16) bytes and fills the rest of the 16 with zeros; with 0 the source is not read.
// Both addresses are 16-byte aligned; bypasses L1.
HG_DEV void cp_async16(uint32_t destination, const void* source, int source_bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination), "l"(source), "r"(source_bytes)
               : "memory");
}
HG_DEV void cp_async8(uint32_t destination, const void* source, int source_bytes = 8) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(destination), "l"(source), "r"(source_bytes)
               : "memory");
}
HG_DEV void cp_async4(uint32_t destination, const void* source, int source_bytes = 4) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(destination), "l"(source), "r"(source_bytes)
               : "memory");
}

// Closes this thread's current group of copies.
HG_DEV void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most kPending of this thread's groups are still in flight. Other threads see the data after a barrier.
template <int kPending>
HG_DEV void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Global loads and stores that order the memory around them, for flags between blocks.
HG_DEV uint32_t load_acquire(const uint32_t* flag) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
  return value;
}
HG_DEV void store_release(uint32_t* flag, uint32_t value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
}

}  // namespace hgfast::cuda::ptx
