// The choice of algorithm and blocking, and the answer to "how much memory".
#include "cpu/conv_layout.h"

#include "common/check.h"
#include "cpu/cache_size.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr ConvTiling kTilings[] = {
    {ConvAlgorithm::kDirect, 1, 1, "direct", "direct, float32 products"},
    {ConvAlgorithm::kF23, 16, 2, "winograd F(2,3)", "winograd F(2,3), float32 products"},
    {ConvAlgorithm::kF43, 36, 4, "winograd F(4,3)", "winograd F(4,3), float32 products"},
    {ConvAlgorithm::kF63, 64, 6, "winograd F(6,3)", "winograd F(6,3), float32 products"},
    {ConvAlgorithm::kS23, 25, 2, "winograd F(2,3)/2", "winograd F(2,3)/2, float32 products"},
    {ConvAlgorithm::kS43, 81, 4, "winograd F(4,3)/2", "winograd F(4,3)/2, float32 products"},
    {ConvAlgorithm::kDirectPairs, 1, 1, nullptr, "direct, bf16 products", true},
    {ConvAlgorithm::kF43Int16, 36, 4, nullptr, "winograd F(4,3), int16 products", true},
    {ConvAlgorithm::kF23Int16, 16, 2, nullptr, "winograd F(2,3), int16 products", true},
    {ConvAlgorithm::kS43Int16, 81, 4, nullptr, "winograd F(4,3)/2, int16 products", true},
};

bool is_strided(ConvAlgorithm a) {
  return a == ConvAlgorithm::kS23 || a == ConvAlgorithm::kS43 || a == ConvAlgorithm::kS43Int16;
}

// Whether all threads fill one V, each then to make its own output channels. Otherwise each thread makes its own tiles
// and reads all weights. What decides is which is the less to hand around: V between the cores (the dearer kind), or
// the weights; and that no GEMM has too few rows. Measured: ties at K = 4 to 8 times the tiles.
bool shares(const ConvLayout& l, const ConvShape& s, int64_t tiles_per_thread) {
  if (l.threads == 1 || l.tiles >= l.threads * tiles_per_thread) return false;
  return 8 * l.tiles < s.k || 2 * l.tiles < l.threads * kGemmRows;
}

// Pairs of bfloat16 are read as they lie, those of int16 are made.
bool fits_pairs(const ConvTiling& tiling, const ConvShape& s) {
  const bool even = (s.c % 2 == 0 || tiling.tile > 1) && s.extra_c % 2 == 0;
  return kHasPairs && s.dtype == DType::kBFloat16 && even;
}

bool fits(const ConvTiling& tiling, const ConvShape& s) {
  if (tiling.pairs && !fits_pairs(tiling, s)) return false;
  if (tiling.tile == 1) return true;
  return s.kernel == 3 && s.stride == (is_strided(tiling.algorithm) ? 2 : 1);
}

ConvInput input_of(const ConvShape& s, bool pairs) {
  if (s.extra_c != 0) return ConvInput::kPanel;
  const bool as_stored = pairs || s.dtype == DType::kFloat32;
  if (as_stored && s.kernel == 1 && s.stride == 1 && s.c % kConvLanes == 0) return ConvInput::kPoints;
  return !pairs && s.kernel > 1 && s.kernel * s.c == kStemRow ? ConvInput::kStem : ConvInput::kPanel;
}

ConvLayout lay_out(const ConvTiling& tiling, const ConvShape& shape, int64_t threads) {
  const ConvShape s = tiling.pairs ? in_pairs(shape) : shape;
  ConvLayout l;
  l.tiling = tiling;
  l.tiles_h = ceil_div(s.p, tiling.tile);
  l.tiles_w = ceil_div(s.q, tiling.tile);
  l.tiles = s.n * l.tiles_h * l.tiles_w;
  l.rows = l.direct() ? s.kernel * s.kernel * s.c : s.c;
  l.blocks = ceil_div(l.rows, kConvLanes);
  l.extra_blocks = ceil_div(s.extra_c, kConvLanes);
  l.k_groups = ceil_div(s.k, kGemmWidth);
  l.input = l.direct() ? input_of(s, tiling.pairs) : ConvInput::kPanel;
  l.bordered_floats = l.input == ConvInput::kStem ? s.n * (s.h + s.kernel - 1) * (s.w + s.kernel - 1) * s.c : 0;
  l.threads = threads;
  l.tile_block = 1;
  l.shared = false;
  if (l.input == ConvInput::kStem) {
    l.tile_block = s.q;
    return l;
  }
  const int64_t tile_bytes = (l.v_floats() + l.m_floats()) * sizeof(float);
  int64_t most = std::max<int64_t>(l2_bytes() * 3 / 4 / tile_bytes, kGemmRows);
  if (l.direct() && l.packed_floats() * static_cast<int64_t>(sizeof(float)) <= l2_bytes() / 2) most = kGemmRows;
  l.shared = shares(l, s, most);
  if (l.shared) most *= threads;
  int64_t blocks = std::max<int64_t>(1, ceil_div(l.tiles, most));
  if (!l.shared) blocks = ceil_div(blocks, threads) * threads;
  l.tile_block = std::max<int64_t>(1, ceil_div(l.tiles, blocks));
  return l;
}

// Estimated cycles: arithmetic, transforms (about 4 cycles per vector in and out) and the weights' way from memory.
double cost(const ConvLayout& l) {
  const double macs_per_cycle = 2 * kConvLanes, bytes_per_cycle = l.threads > 1 ? 20 : 10;
  const double k = static_cast<double>(l.k_groups * kGemmWidth);
  const double rows = static_cast<double>(
      (l.tiling.points * l.panel_blocks() + l.tile_pixels() * l.separate_extra_blocks()) * kConvLanes);
  const double arithmetic = l.tiles * rows * k / macs_per_cycle;
  const double inputs = (l.scaled() ? 2.6 : 1) * l.panel_blocks();  // twice the channels, and scaling
  const double transforms = 4. * l.tiles * l.tiling.points * (inputs + k / kConvLanes);
  const double weights = l.packed_floats() * sizeof(float) / bytes_per_cycle;
  return std::max((arithmetic + transforms) / l.threads, weights);
}

}  // namespace

ConvLayout conv_layout(const ConvShape& s, Exec exec) {
  HGFAST_CHECK(s.dtype == DType::kFloat32 || s.dtype == DType::kBFloat16,
               "conv: the CPU kernels take float32 and bfloat16, got dtype code ", int(s.dtype));
  const int64_t threads = std::max<Exec>(exec, 1);
  ConvLayout best;
  bool found = false;
  for (const ConvTiling& tiling : kTilings) {
    if (!fits(tiling, s)) continue;
    const bool wanted = static_cast<int64_t>(tiling.algorithm) == s.algorithm;
    if (s.algorithm && !wanted) continue;
    const ConvLayout candidate = lay_out(tiling, s, threads);
    if (!found || cost(candidate) < cost(best)) best = candidate;
    found = true;
  }
  HGFAST_CHECK(found, "conv: algorithm ", s.algorithm, " does not fit a ", s.kernel, "x", s.kernel,
               " kernel of stride ", s.stride);
  return best;
}

void conv_query(const ConvQuery& query, Exec exec) {
  const ConvLayout layout = conv_layout(query.shape, exec);
  *query.answer = {
      static_cast<int64_t>(layout.tiling.algorithm), layout.packed_floats() * static_cast<int64_t>(sizeof(float)),
      layout.workspace_floats() * static_cast<int64_t>(sizeof(float)), static_cast<int64_t>(layout.tiling.algorithm),
      query.shape.dtype == DType::kBFloat16 ? layout.tiling.name_bf16 : layout.tiling.name};
}

}  // namespace hgfast::cpu::HGFAST_ISA
