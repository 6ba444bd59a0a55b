// Memory as kernels address it. Global addresses are the host's. A shared address is an offset in the block's shared
// memory, with 1 + the block's rank in the upper byte where it is in another block of the cluster (mapa). A generic
// address of shared, local or parameter memory is the host's.
#pragma once

#include "machine.h"

namespace hgfast::ptx {

constexpr uint32_t kRankShift = 24, kOffsetMask = (1u << kRankShift) - 1;

// Where an access by a lane goes, checked: `bytes` bytes inside the memory that it may touch. Throws Error.
uint8_t* shared_at(const Warp& w, int lane, uint64_t address, uint32_t bytes);
uint8_t* global_at(const Warp& w, int lane, uint64_t address, uint32_t bytes, bool writes);
uint8_t* local_at(const Warp& w, int lane, uint64_t address, uint32_t bytes);
uint8_t* parameter_at(const Warp& w, int lane, uint64_t address, uint32_t bytes);
uint8_t* generic_at(const Warp& w, int lane, uint64_t address, uint32_t bytes, bool writes);
// The block of a shared address.
Block& block_of(const Warp& w, int lane, uint32_t address);

}  // namespace hgfast::ptx
