// The loops around the products: blocks, groups of output channels, pairs of tiles; and their sharing between threads.
#pragma once

#include "cpu/amx/gather.h"
#include "cpu/amx/product.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {

class TileEngine {
 public:
  TileEngine(const Conv& conv, const TileLayout& layout)
      : conv_(conv), s_(conv.shape), l_(layout), epilogue_(conv), pixels_(s_.n * s_.p * s_.q) {}

  void run() const {
    fill_table();
    l_.shared ? run_shared() : run_private();
  }

 private:
  struct Block {
    int64_t strip, first, count;  // units

    Block(const TileLayout& l, int64_t number)
        : strip(number / l.strip_blocks()),
          first(number % l.strip_blocks() * l.block),
          count(std::min(l.block, l.strip - first)) {}
  };

  struct Tile {
    int64_t pixel;   // of the output
    int begin, end;  // its rows that are no other tile's
  };

  // Where a tile's operands begin.
  struct Place {
    Tile tile;
    const char *input, *extra;
  };
  static_assert(sizeof(Place) <= TileLayout::kTilePlace);

  char* workspace() const { return static_cast<char*>(conv_.workspace); }
  int64_t* table() const { return reinterpret_cast<int64_t*>(workspace()); }
  char* copy_of(int slot) const { return workspace() + l_.table_bytes() + (l_.shared ? 0 : slot) * l_.copy_bytes(s_); }
  float* sums_of(int slot) const {
    return reinterpret_cast<float*>(workspace() + l_.table_bytes() + (l_.shared ? 1 : l_.threads) * l_.copy_bytes(s_) +
                                    slot * l_.thread_bytes());
  }
  Place* places_of(int slot) const {
    return reinterpret_cast<Place*>(reinterpret_cast<char*>(sums_of(slot)) + TileLayout::kSumsBytes);
  }

  void fill_table() const {
    int64_t* to = table();
    const bool bordered = l_.input == TileInput::kBordered, whole = whole_steps(s_);
    const int64_t blocks = whole ? s_.c / kStep : 1, width = whole ? s_.kernel : l_.steps / s_.kernel;
    const int64_t unit = bordered ? kTileBytes : l_.input == TileInput::kGathered ? l_.gathered_step() : kTileBytes;
    const int64_t column = bordered ? 1 : blocks, row = bordered ? l_.bordered_columns(s_) : width * column;
    const int64_t block = bordered ? l_.bordered_rows(s_) * row : 1;
    for (int64_t c = 0; c < blocks; ++c)
      for (int64_t y = 0; y < s_.kernel; ++y)
        for (int64_t x = 0; x < width; ++x) *to++ = (c * block + y * row + x * column) * unit;
    const int64_t step = l_.extra == TileInput::kStored ? kTileBytes : l_.gathered_step();
    for (int64_t i = 0; i < l_.extra_steps; ++i) *to++ = i * step;
  }

  void run_private() const {
    const int64_t blocks = l_.strips * l_.strip_blocks();
    parallel_for(blocks, 1, l_.threads, [&](int64_t begin, int64_t end, int slot) {
      const UseOfTiles tiles;
      for (int64_t number = begin; number < end; ++number) {
        const Block block(l_, number);
        copy(block, 0, copies(block), slot);
        const bool far = number == begin || !l_.weights_stay();
        multiply(block, 0, block.count * l_.unit_tiles(), 0, l_.groups, far, slot);
      }
    });
  }

  void run_shared() const {
    for (int64_t number = 0; number < l_.strips * l_.strip_blocks(); ++number) {
      const Block block(l_, number);
      const int64_t count = copies(block), tiles = block.count * l_.unit_tiles();
      parallel_for(count, divide_up(count, l_.threads), l_.threads,
                   [&](int64_t begin, int64_t end, int slot) { copy(block, begin, end, slot); });
      parallel_for(l_.groups, 1, l_.threads, [&](int64_t begin, int64_t end, int slot) {
        const UseOfTiles use;
        multiply(block, 0, tiles, begin, end, true, slot);
      });
    }
  }

  // Parts in which a block's input is copied: rows of the image, or tiles.
  int64_t copies(const Block& block) const {
    if (l_.input == TileInput::kBordered) return (block.count - 1) * s_.stride + s_.kernel;
    const bool any = l_.input == TileInput::kGathered || (l_.extra_steps && l_.extra == TileInput::kGathered);
    return any ? block.count * l_.unit_tiles() : 0;
  }

  void copy(const Block& block, int64_t begin, int64_t end, int slot) const {
    auto* to = reinterpret_cast<BFloat16*>(copy_of(slot));
    auto* extra = reinterpret_cast<BFloat16*>(copy_of(slot) + l_.input_bytes(s_));
    if (l_.input == TileInput::kBordered)
      for (int64_t row = begin; row < end; ++row) copy_bordered_row(conv_, l_, block.strip, block.first, row, to);
    if (l_.input == TileInput::kGathered)
      for (int64_t i = begin; i < end; ++i)
        each_pixel(block, i, [&](int64_t pixel, int64_t at) { gather_pixel(conv_, l_, pixel, to + at * kStep); });
    if (l_.extra_steps == 0 || l_.extra == TileInput::kStored) return;
    if (l_.input == TileInput::kBordered) begin = begin * l_.row_tiles, end = begin;  // never gathered by rows
    for (int64_t i = begin; i < end; ++i)
      each_pixel(block, i,
                 [&](int64_t pixel, int64_t at) { gather_extra_pixel(conv_, l_, pixel, extra + at * kStep); });
  }

  // f(pixel of the output, its number in the block) for tile `i` of a block.
  template <class F>
  void each_pixel(const Block& block, int64_t i, const F& f) const {
    const Tile tile = tile_of(block, i);
    for (int64_t r = 0; r < std::min<int64_t>(kTileRows, pixels_ - tile.pixel); ++r)
      f(tile.pixel + r, i * kTileRows + r);
  }

  // The last tile of a row, or of all, overlaps the one before it.
  Tile tile_of(const Block& block, int64_t i) const {
    const int64_t length = l_.by_rows ? s_.q : pixels_, number = l_.by_rows ? i % l_.row_tiles : block.first + i;
    const int64_t at = std::max<int64_t>(0, std::min(number * kTileRows, length - kTileRows));
    const int64_t row = l_.by_rows ? (block.strip * s_.p + block.first + i / l_.row_tiles) * s_.q : 0;
    return {row + at, static_cast<int>(number * kTileRows - at),
            static_cast<int>(std::min<int64_t>(kTileRows, length))};
  }

  // Tiles begin .. end of a block, groups first .. last of output channels. fetch: the next group's weights, meanwhile.
  void multiply(const Block& block, int64_t begin, int64_t end, int64_t first, int64_t last, bool fetch,
                int slot) const {
    Place* places = places_of(slot);
    for (int64_t i = begin; i < end; ++i)
      places[i] = {tile_of(block, i), input_at(block, i, slot), l_.extra_steps ? extra_at(block, i, slot) : nullptr};
    l_.steps + l_.extra_steps <= kFewSteps ? multiply_groups<1>(begin, end, first, last, fetch, slot)
                                           : multiply_groups<kChunkSteps>(begin, end, first, last, fetch, slot);
  }

  template <int kChunk>
  void multiply_groups(int64_t begin, int64_t end, int64_t first, int64_t last, bool fetch, int slot) const {
    const Place* places = places_of(slot);
    Finisher finisher(conv_, epilogue_);
    float* sums = sums_of(slot);
    const int64_t shares = std::max<int64_t>(1, l_.steps / kChunk + l_.extra_steps / kChunk);
    const int rows = static_cast<int>(divide_up(Finisher::kRows, shares));
    const int64_t lines = fetch ? divide_up(l_.group_bytes() / 64, shares * divide_up(end - begin, 2)) : 0;
    TileOperand main{{}, input_row_bytes(), table(), l_.steps};
    TileOperand extra{{}, extra_row_bytes(), table() + l_.steps, l_.extra_steps};
    for (int64_t group = first; group < last; ++group) {
      const char* weights = static_cast<const char*>(conv_.weight) + group * l_.group_bytes();
      const char* next = static_cast<const char*>(conv_.weight) + (group + 1) % l_.groups * l_.group_bytes();
      Meanwhile meanwhile{finisher, rows, {next, lines}};
      for (int64_t i = begin; i < end; i += 2) {
        TileOutput output;
        output.k = group * kGroup;
        for (int j = 0; j < 2; ++j) {
          const Place& place = places[std::min(i + j, end - 1)];
          main.at[j] = place.input, extra.at[j] = place.extra;
          output.pixel[j] = place.tile.pixel, output.begin[j] = place.tile.begin;
          output.end[j] = i + j < end ? place.tile.end : 0;
        }
        finisher.expect(output);
        if (i + 1 < end)
          multiply_tiles<Bfloat16TileProduct, 2, kChunk>(main, extra, weights, meanwhile, sums);
        else
          multiply_tiles<Bfloat16TileProduct, 1, kChunk>(main, extra, weights, meanwhile, sums);
        finisher.start(sums);
      }
    }
    finisher.all();
  }

  int64_t input_row_bytes() const {
    if (l_.input == TileInput::kStored) return s_.stride * s_.c * 2;
    return l_.input == TileInput::kBordered ? s_.stride * kTileBytes : kTileBytes;
  }

  int64_t extra_row_bytes() const {
    return l_.extra == TileInput::kStored ? s_.extra_stride * s_.extra_c * 2 : kTileBytes;
  }

  const char* input_at(const Block& block, int64_t i, int slot) const {
    if (l_.input == TileInput::kGathered) return copy_of(slot) + i * kTileSize;
    const Tile tile = tile_of(block, i);
    if (l_.input == TileInput::kStored && s_.stride == 1)
      return static_cast<const char*>(conv_.x) + tile.pixel * s_.c * 2;
    const TilePixel at(s_, tile.pixel);
    if (l_.input == TileInput::kStored)
      return static_cast<const char*>(conv_.x) +
             ((at.image * s_.h + at.i * s_.stride) * s_.w + at.j * s_.stride) * s_.c * 2;
    return copy_of(slot) + ((at.i - block.first) * l_.bordered_columns(s_) + at.j) * s_.stride * kTileBytes;
  }

  const char* extra_at(const Block& block, int64_t i, int slot) const {
    if (l_.extra == TileInput::kGathered) return copy_of(slot) + l_.input_bytes(s_) + i * kTileSize;
    const TilePixel at(s_, tile_of(block, i).pixel);
    return static_cast<const char*>(conv_.extra_x) +
           ((at.image * s_.extra_h + at.i * s_.extra_stride) * s_.extra_w + at.j * s_.extra_stride) * s_.extra_c * 2;
  }

  const Conv& conv_;
  const ConvShape& s_;
  const TileLayout& l_;
  const ConvEpilogue<BFloat16> epilogue_;
  const int64_t pixels_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
