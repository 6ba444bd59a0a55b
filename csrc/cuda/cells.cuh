// A map's 2x2 cells: what a thread of the merge's and the pool's kernels works on, one division by a few for four
// packs.
//
// A map is (outer, h, w, packs): NHWC has outer = n and the packs of a pixel's channels; NCHW outer = n * c and one
// pack of one element. An item is a pack of a cell: two rows by kColumns columns, 2, or 1 where neighbouring threads
// should read neighbouring columns. Items are counted in the order of the low map's memory (kColumns = 2).
#pragma once

#include "cuda/divisor.cuh"
#include "cuda/octet.cuh"

namespace hgfast::cuda {

template <class Index>
struct Cells {
  // Where an item's cell begins, in packs of the map, and how much of the cell lies in the map.
  struct Cell {
    Index first;
    Index outer, strip;  // strip: which row of cells of the whole tensor
    int row, column, pack;
    bool has_row, has_column;  // the second ones

    // Does place 0 to 3, row by row, lie in the map?
    HG_DEV bool has(int place) const { return (place < 2 || has_row) && (place % 2 == 0 || has_column); }
  };

  Index total, image, line, packs;  // image, line: packs from one to the next
  int h, w;
  Divisor<Index> by_pack, by_column, by_row;

  // rows, columns: cells in each direction.
  Cells(int64_t outer, int64_t h, int64_t w, int64_t packs, int64_t rows, int64_t columns)
      : total(static_cast<Index>(outer * rows * columns * packs)),
        image(static_cast<Index>(h * w * packs)),
        line(static_cast<Index>(w * packs)),
        packs(static_cast<Index>(packs)),
        h(static_cast<int>(h)),
        w(static_cast<int>(w)),
        by_pack(packs),
        by_column(columns),
        by_row(rows) {}

  template <int kColumns>
  HG_DEV Cell at(Index i) const {
    const Index cell = by_pack.quotient(i), strip = by_column.quotient(cell), outer = by_row.quotient(strip);
    const int row = static_cast<int>(strip - outer * by_row.divisor);
    const int column = static_cast<int>(cell - strip * by_column.divisor);
    const int pack = static_cast<int>(i - cell * by_pack.divisor);
    const Index first = outer * image + 2 * row * line + kColumns * column * packs + pack;
    return {first, outer, strip, row, column, pack, 2 * row + 1 < h, kColumns == 2 && 2 * column + 1 < w};
  }

  // The pack at a place of a cell: row place / 2, column place % 2.
  HG_DEV Index place(const Cell& cell, int place) const {
    return cell.first + (place >= 2 ? line : 0) + (place % 2 ? packs : 0);
  }
};

// A pack's elements as the numbers that arithmetic is done with.
template <class T, int kWidth>
struct Numbers {
  Scalar<T> v[kWidth];

  HG_DEV explicit Numbers(const Pack<T, kWidth>& pack) {
    if constexpr (kWidth == kOctet) {
      const Octet<T> octet = expand(RawOctet<T>{{pack}});
#pragma unroll
      for (int k = 0; k < kWidth; ++k) v[k] = octet.v[k];
    } else {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) v[k] = to_scalar(pack.v[k]);
    }
  }

  HG_DEV Pack<T, kWidth> rounded() const {
    Pack<T, kWidth> pack;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) pack.v[k] = from_scalar<T>(v[k]);
    return pack;
  }
};

}  // namespace hgfast::cuda
