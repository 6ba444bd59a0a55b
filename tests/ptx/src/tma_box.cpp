// PTX ISA, "Tensors": "Tiled Mode", "im2col mode", "Swizzling Modes"; cuda.h, cuTensorMapEncodeTiled.
#include <algorithm>

#include "addresses.h"
#include "regions.h"
#include "tma.h"

namespace hgfast::ptx {

namespace {

// A run of the box's innermost dimension: the coordinates of its first element.
using Row = std::array<int64_t, 5>;

uint32_t extent(const TensorMap& map, uint32_t dimension) {
  return (map.box[dimension] + map.steps[dimension] - 1u) / map.steps[dimension];
}

uint32_t row_count(const BoxCopy& copy) {
  if (copy.im2col) return copy.map.pixels;
  uint32_t rows = 1;
  for (uint32_t k = 1; k < copy.map.rank; ++k) rows *= extent(copy.map, k);
  return rows;
}

template <class F>
void tiled_rows(const BoxCopy& copy, const F& visit) {
  for (uint32_t r = 0; r < row_count(copy); ++r) {
    Row row = {copy.corner[0]};
    uint32_t rest = r;
    for (uint32_t k = 1; k < copy.map.rank; ++k) {
      const uint32_t n = extent(copy.map, k);
      row[k] = copy.corner[k] + int64_t{rest % n} * copy.map.steps[k];
      rest /= n;
    }
    visit(r, row);
  }
}

// Pixels walk through the bounding box, from the lower corner to size - 1 + upper, in each spatial dimension and then
// to the next image; the tap is added to where they are.
template <class F>
void im2col_rows(const BoxCopy& copy, const F& visit) {
  const TensorMap& map = copy.map;
  const uint32_t spatial = map.rank - 2u;
  Row at = {};
  for (uint32_t k = 0; k < map.rank; ++k) at[k] = copy.corner[k];
  for (uint32_t pixel = 0; pixel < map.pixels; ++pixel) {
    Row row = at;
    for (uint32_t k = 0; k < spatial && !copy.taps.empty(); ++k) row[1 + k] += copy.taps[k];
    visit(pixel, row);
    uint32_t k = 0;
    for (; k < spatial; ++k) {
      at[1 + k] += map.steps[1 + k];
      if (at[1 + k] < int64_t{map.sizes[1 + k]} + map.upper[k]) break;
      at[1 + k] = map.lower[k];
    }
    if (k == spatial) ++at[map.rank - 1];
  }
}

// The elements of a row that are in the tensor: [first, last) of it, at `address`.
struct Inside {
  uint32_t first = 0, last = 0;
  uint64_t address = 0;
};

Inside inside(const TensorMap& map, const Row& row) {
  uint64_t address = map.base;
  for (uint32_t k = 1; k < map.rank; ++k) {
    if (row[k] < 0 || row[k] >= int64_t{map.sizes[k]}) return {};
    address += static_cast<uint64_t>(row[k]) * map.strides[k - 1];
  }
  const int64_t first = std::max<int64_t>(0, -row[0]);
  const int64_t last = std::min<int64_t>(map.row_elements(), int64_t{map.sizes[0]} - row[0]);
  if (first >= last) return {};
  address += static_cast<uint64_t>(row[0] + first) * map.element_bytes;
  return {static_cast<uint32_t>(first), static_cast<uint32_t>(last), address};
}

template <class F>
void rows(const BoxCopy& copy, const F& visit) {
  copy.im2col ? im2col_rows(copy, visit) : tiled_rows(copy, visit);
}

// Bits 4.. of an address in shared memory are changed by bits 7.., as many as the span has 16-byte units.
uint8_t* element_at(const BoxCopy& copy, uint32_t row, uint32_t element) {
  const uint32_t at = copy.shared + (row * copy.map.row_elements() + element) * copy.map.element_bytes;
  const uint32_t bits = copy.map.span() ? copy.map.span() / 16 - 1 : 0;
  return copy.block->shared + (at ^ (at >> 7 & bits) << 4);
}

}  // namespace

uint32_t BoxCopy::bytes() const { return row_count(*this) * map.row_elements() * map.element_bytes; }

void check_box(const Warp& w, int lane, const BoxCopy& copy, bool writes) {
  const TensorMap& map = copy.map;
  if (copy.im2col != (map.im2col != 0)) fail(w, lane, "TMA: a tiled copy with an im2col map, or the other way round");
  if (copy.corner.size() != map.rank) fail(w, lane, "TMA: the map has rank " + std::to_string(map.rank));
  if (copy.shared % 128) fail(w, lane, "TMA: shared address " + hex(copy.shared) + " is not aligned to 128 bytes");
  if (copy.shared + copy.bytes() > copy.block->shared_bytes)
    fail(w, lane, "TMA: a box of " + std::to_string(copy.bytes()) + " bytes leaves the block's shared memory");
  rows(copy, [&](uint32_t, const Row& row) {
    const Inside in = inside(map, row);
    if (in.last > in.first) global_at(w, lane, in.address, (in.last - in.first) * map.element_bytes, writes);
  });
}

void load_box(const BoxCopy& copy) {
  const uint32_t bytes = copy.map.element_bytes;
  rows(copy, [&](uint32_t r, const Row& row) {
    const Inside in = inside(copy.map, row);
    const auto* source = reinterpret_cast<const uint8_t*>(in.address);
    for (uint32_t e = 0; e < copy.map.row_elements(); ++e) {
      uint8_t* const to = element_at(copy, r, e);
      if (e >= in.first && e < in.last)
        std::memcpy(to, source + (e - in.first) * bytes, bytes);
      else
        std::memset(to, 0, bytes);
    }
  });
}

void store_box(const BoxCopy& copy) {
  const uint32_t bytes = copy.map.element_bytes;
  rows(copy, [&](uint32_t r, const Row& row) {
    const Inside in = inside(copy.map, row);
    auto* target = reinterpret_cast<uint8_t*>(in.address);
    for (uint32_t e = in.first; e < in.last; ++e, target += bytes) std::memcpy(target, element_at(copy, r, e), bytes);
  });
}

}  // namespace hgfast::ptx
