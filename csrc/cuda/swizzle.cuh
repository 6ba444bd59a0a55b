// The layout of operand tiles in shared memory: rows of 128 bytes (64 half or 32 float elements of K), eight 16-byte
// chunks each, chunk c of row r stored at place c ^ (r % 8). It is the 128-byte swizzle of TMA and wgmma, and it lets
// ldmatrix read 8 rows of one chunk, and cp.async write 8 chunks of one row, without bank conflicts.
#pragma once

#include "cuda/compat.cuh"

namespace hgfast::cuda {

constexpr int kRowBytes = 128;
constexpr int kChunks = kRowBytes / 16;
constexpr int kSwizzleAlignment = 8 * kRowBytes;  // tiles start here, so that address bits 7-9 are the row

// Elements of a row, and of a chunk.
template <class T>
constexpr int kBlockK = kRowBytes / sizeof(T);
template <class T>
constexpr int kChunkK = 16 / sizeof(T);

// Byte offset of a chunk inside a tile.
HG_DEV uint32_t swizzled(int row, int chunk) {
  return static_cast<uint32_t>(row * kRowBytes + ((chunk ^ (row & 7)) << 4));
}

}  // namespace hgfast::cuda
