// The choice of operands and blocks for tiles.
#include "cpu/amx/layout.h"

#include <unistd.h>

#include <algorithm>

namespace hgfast::cpu::HGFAST_ISA {
namespace {

int64_t l2_bytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return 1 << 21;
}

// Whether tiles within rows of the output waste less than gathering costs.
bool fits_rows(const ConvShape& s) { return s.q >= kTileRows && 3 * round_up(s.q, kTileRows) <= 4 * s.q; }

TileInput input_of(const ConvShape& s) {
  const bool whole = whole_steps(s), enough = s.n * s.p * s.q >= kTileRows;
  if (whole && s.kernel == 1 && (s.stride == 1 ? enough : fits_rows(s))) return TileInput::kStored;
  return whole && s.kernel > 1 && fits_rows(s) ? TileInput::kBordered : TileInput::kGathered;
}

// Where tiles are not within rows, their pixels have to lie at equal distances across rows and images.
TileInput extra_of(const TileLayout& l, const ConvShape& s) {
  const bool even = l.by_rows || (s.extra_stride == 1 && s.n * s.p * s.q >= kTileRows);
  return s.extra_c % kStep == 0 && even ? TileInput::kStored : TileInput::kGathered;
}

// Units of nearly equal number. Where all weights stay in L2 the block is small; where they come from further away at
// each block it fills a good part of L2.
int64_t block_of(TileLayout l, const ConvShape& s) {
  const int64_t most_bytes = l.weights_stay() ? l2_bytes() / 8 : l2_bytes() * 3 / 8;
  int64_t most = 1;
  for (l.block = 2; most < l.strip && l.input_bytes(s) + l.extra_bytes() <= most_bytes; ++l.block) most = l.block;
  if (l.input == TileInput::kStored) most = divide_up(most_bytes, (s.c + s.k) * 2 * l.unit_tiles() * kTileRows);
  if (!l.shared && l.threads > 1 && l.strips * divide_up(l.strip, most) < 4 * l.threads)
    most = std::max<int64_t>(1, l.strip * l.strips / (4 * l.threads));
  return divide_up(l.strip, divide_up(l.strip, most));
}

}  // namespace

bool TileLayout::weights_stay() const { return packed_bytes() <= l2_bytes() * 5 / 8; }

bool takes_tiles(const ConvShape& s) { return s.dtype == DType::kBFloat16; }

TileLayout tile_layout(const ConvShape& s, Exec exec) {
  TileLayout l;
  l.threads = std::max<Exec>(exec, 1);
  l.input = input_of(s);
  l.by_rows = l.input == TileInput::kBordered || (l.input == TileInput::kStored && s.stride > 1);
  l.extra = extra_of(l, s);
  l.row_tiles = divide_up(s.q, kTileRows);
  l.strips = l.by_rows ? s.n : 1;
  l.strip = l.by_rows ? s.p : divide_up(s.n * s.p * s.q, kTileRows);
  l.steps = s.kernel * divide_up(s.kernel * s.c, kStep);
  l.extra_steps = divide_up(s.extra_c, kStep);
  l.groups = divide_up(s.k, kGroup);
  const int64_t image_bytes = s.n * s.h * s.w * s.c * 2;
  l.shared = l.threads > 1 && l.groups >= l.threads && image_bytes < l.packed_bytes();
  l.block = std::max<int64_t>(1, block_of(l, s));
  return l;
}

}  // namespace hgfast::cpu::HGFAST_ISA
