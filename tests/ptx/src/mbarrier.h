// mbarriers: 8 bytes of shared memory that count a phase's arrivals and bytes (PTX ISA, "mbarrier").
#pragma once

#include "machine.h"

namespace hgfast::ptx {

// How one lies in shared memory. Kernels see nothing of it.
struct Mbarrier {
  uint32_t expected : 12, pending : 12, mark : 7, phase : 1;
  int32_t bytes;  // that copies still have to deliver in this phase
};
static_assert(sizeof(Mbarrier) == 8);

// The mbarrier at a shared address. Throws Error where none was initialised.
Mbarrier& mbarrier_at(const Warp& w, int lane, uint64_t address);
void mbarrier_arrive(const Warp& w, int lane, Mbarrier& barrier, uint32_t count);
// A copy has delivered bytes.
void mbarrier_deliver(uint8_t* barrier, uint32_t bytes);

}  // namespace hgfast::ptx
