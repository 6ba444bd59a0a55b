// Shared-memory matrix descriptors of wgmma: plain arithmetic, the same on the device and in the emulator.
#pragma once

#include "cuda/compat.cuh"

namespace hgfast::cuda::ptx {

// How rows of an operand tile are permuted in shared memory; the values are those of the descriptor's bits 62-63.
enum class Swizzle : uint32_t { kNone = 0, k128 = 1, k64 = 2, k32 = 3 };

// Descriptor of a K-major operand tile. `address`: start, 16-byte aligned (the tile itself is aligned to the repeat of
// its swizzle: 1024, 512 or 256 bytes). `stride_bytes`: distance between groups of 8 rows (1024 for a dense 128-byte
// swizzle). `leading_bytes`: distance between 16-byte columns, used without swizzle only.
HG_DEV uint64_t make_smem_descriptor(uint32_t address, uint32_t leading_bytes, uint32_t stride_bytes, Swizzle swizzle) {
  auto field = [](uint32_t bytes) { return static_cast<uint64_t>((bytes & 0x3ffff) >> 4); };
  return field(address) | field(leading_bytes) << 16 | field(stride_bytes) << 32 | static_cast<uint64_t>(swizzle) << 62;
}

}  // namespace hgfast::cuda::ptx
