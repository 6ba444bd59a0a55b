// The input under a tile of 8 x 16 results (float32: 8 x 8), kept in shared memory as it lies in memory: the kernel for
// few channels builds its rows of K from it, each value read from global memory once a tile instead of once a tap.
//
// Rows of a patch begin at the chunk of 16 bytes in which their first value lies, so that they are copied chunk by
// chunk wherever rows of the input are whole chunks, else value by value. Zeros outside the picture. Bytes: those of
// the patch, 1.5 times the tile's own for the stem. Limits: patches of 8 KB, that the memory of the last weights has
// room for.
#pragma once

#include "cuda/conv_args.cuh"
#include "cuda/divisor.cuh"
#include "cuda/ptx.cuh"

namespace hgfast::cuda {

constexpr int kPatchLines = 8;  // of results
constexpr int kMaxPatchBytes = kSmallTileN * kRowBytes;
template <class T>
constexpr int kPatchColumns = kSmallTileM<T> / kPatchLines;

// Tiles of results, and the patch under each.
template <class T>
struct PatchGrid {
  int rows, chunks, tiles_x, tiles_y;  // of a patch; of an image
  int64_t tiles;
  Divisor<int> by_chunk, by_tile_x, by_tile_y, by_channel, by_column;  // by_column: of the filter
  bool packed;                                                         // copied by chunks

  explicit PatchGrid(const Conv& a)
      : rows(extent(kPatchLines, a.shape)),
        chunks(static_cast<int>(ceil_div(extent(kPatchColumns<T>, a.shape) * a.shape.c + kChunkK<T> - 1, kChunkK<T>))),
        tiles_x(static_cast<int>(ceil_div(a.shape.q, kPatchColumns<T>))),
        tiles_y(static_cast<int>(ceil_div(a.shape.p, kPatchLines))),
        tiles(a.shape.n * tiles_y * tiles_x),
        by_chunk(chunks),
        by_tile_x(tiles_x),
        by_tile_y(tiles_y),
        by_channel(a.shape.c),
        by_column(a.shape.kernel),
        packed(a.shape.w * a.shape.c % kChunkK<T> == 0 && are_aligned(a.x)) {}

  // Whether there is room for a patch, and tiles are not much more than the results fill.
  bool fits(const Conv& a) const {
    return int64_t{rows} * chunks * 16 <= kMaxPatchBytes &&
           2 * tiles * kSmallTileM<T> <= 3 * a.shape.n * a.shape.p * a.shape.q;
  }

  // Pixels of the input, or one beyond what any patch may have.
  static int extent(int results, const ConvShape& s) {
    const int64_t pixels = (results - 1) * s.stride + s.kernel;
    return static_cast<int>(pixels < kMaxPatchBytes ? pixels : kMaxPatchBytes);
  }
};

// Where a block's patch and results are.
template <class T>
struct PatchTile {
  int image, p0, q0;     // first result
  int y0, first, shift;  // first row; first value of a row, of a whole chunk; the first one needed behind it
};

template <class T>
HG_DEV PatchTile<T> find_patch(const ConvArgs<T>& a, const PatchGrid<T>& grid, int tile) {
  const int line = grid.by_tile_x.quotient(tile), image = grid.by_tile_y.quotient(line);
  PatchTile<T> at;
  at.image = image;
  at.p0 = (line - image * grid.tiles_y) * kPatchLines;
  at.q0 = (tile - line * grid.tiles_x) * kPatchColumns<T>;
  at.y0 = at.p0 * a.input.stride - a.pad;
  const int first = (at.q0 * a.input.stride - a.pad) * a.input.c;
  at.first = first & -kChunkK<T>;
  at.shift = first - at.first;
  return at;
}

// Starts copying the patch; the caller waits.
template <class T>
HG_DEV void load_patch(const ConvArgs<T>& a, const PatchGrid<T>& grid, const PatchTile<T>& at, T* patch) {
  const int row_values = a.input.w * a.input.c;
  for (int i = threadIdx.x; i < grid.rows * grid.chunks; i += kSmallThreads) {
    const int row = grid.by_chunk.quotient(i), y = at.y0 + row;
    const int value = at.first + (i - row * grid.chunks) * kChunkK<T>;
    const T* line = a.input.x + (at.image * a.input.h + y) * row_values;
    const bool inside = y >= 0 && y < a.input.h;
    T* to = patch + i * kChunkK<T>;
    if (grid.packed) {
      const bool valid = inside && value >= 0 && value < row_values;
      ptx::cp_async16(ptx::smem_u32(to), valid ? line + value : a.input.x, valid ? 16 : 0);
    } else {
#pragma unroll
      for (int k = 0; k < kChunkK<T>; ++k)
        to[k] = inside && value + k >= 0 && value + k < row_values ? line[value + k] : from_float<T>(0.f);
    }
  }
  ptx::cp_async_commit();
}

// Builds the rows of K of the tile's results in swizzled shared memory, a warp a row at a time, a lane the same 32-bit
// words of each: K is [tap][c].
template <class T, int kTileBytes>
HG_DEV void gather_patch(const ConvArgs<T>& a, const PatchGrid<T>& grid, const PatchTile<T>& at, const T* patch,
                         unsigned char* tile, int warp, int lane) {
  constexpr int kPerWord = 4 / sizeof(T), kWords = kSmallK<T> / (32 * kPerWord), kWarps = kSmallThreads / 32;
  constexpr int kLines = kPatchColumns<T> / kWarps;  // rows of a warp that lie in one line
  static_assert(kPatchColumns<T> % kWarps == 0 && kSmallTileM<T> % kWarps == 0);
  const int c = a.input.c, pitch = grid.chunks * kChunkK<T>, terms = a.kernel * a.kernel * c;
  int from[kWords][kPerWord];
  uint32_t to[kWords], mask[kWords] = {};  // of a word's bits that are terms; where there is none, any value is read
#pragma unroll
  for (int word = 0; word < kWords; ++word) {
    const int first = (lane + 32 * word) * kPerWord;
    // a warp's rows differ by kWarps = 8, which the swizzle does not see
    to[word] = first / kBlockK<T> * kTileBytes + swizzled(warp, first % kBlockK<T> / kChunkK<T>) +
               first % kChunkK<T> * sizeof(T);
#pragma unroll
    for (int k = 0; k < kPerWord; ++k) {
      const bool exists = first + k < terms;
      const int term = exists ? first + k : 0, tap = grid.by_channel.quotient(term), dy = grid.by_column.quotient(tap);
      from[word][k] = at.shift + dy * pitch + (tap - dy * a.kernel) * c + term - tap * c;
      if (exists) mask[word] |= (kPerWord == 1 ? ~0u : 0xffffu) << (16 * k);
    }
  }
#pragma unroll 2
  for (int i = 0; i < kSmallTileM<T> / kWarps; ++i) {
    const T* origin = patch + i / kLines * a.input.stride * pitch + (warp + i % kLines * kWarps) * a.input.stride * c;
#pragma unroll
    for (int word = 0; word < kWords; ++word) {
      Pack<T, kPerWord> values;
#pragma unroll
      for (int k = 0; k < kPerWord; ++k) values.v[k] = origin[from[word][k]];
      uint32_t bits;
      memcpy(&bits, &values, sizeof(bits));
      *reinterpret_cast<uint32_t*>(tile + to[word] + i * kWarps * kRowBytes) = bits & mask[word];
    }
  }
}

}  // namespace hgfast::cuda
