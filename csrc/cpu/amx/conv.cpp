// The convolutions of processors with AMX: bfloat16 by tiles; all else is left to the kernels of AVX512_BF16.
#include "common/ops.h"
#include "cpu/amx/engine.h"

namespace hgfast::cpu::avx512_bf16 {
HGFAST_FOR_EACH_CONV_OP(HGFAST_DECLARE_OP)
}  // namespace hgfast::cpu::avx512_bf16

namespace hgfast::cpu::HGFAST_ISA {

void pack_tiles(const ConvPack& pack, const TileLayout& layout);  // pack.cpp

namespace {

bool by_tiles(const ConvShape& s) { return takes_tiles(s) && (s.algorithm == 0 || s.algorithm == kDirectTiles); }

}  // namespace

void conv(const Conv& conv, Exec exec) {
  if (!by_tiles(conv.shape)) return avx512_bf16::conv(conv, exec);
  const TileLayout layout = tile_layout(conv.shape, exec);
  if (layout.strip * layout.strips == 0 || conv.shape.k == 0) return;
  const int64_t needed = layout.workspace_bytes(conv.shape);
  HGFAST_CHECK(conv.workspace_bytes >= needed, "conv: workspace must have ", needed, " bytes for ", layout.threads,
               " threads, got ", conv.workspace_bytes);
  TileEngine(conv, layout).run();
}

void conv_pack(const ConvPack& pack, Exec exec) {
  if (!by_tiles(pack.shape)) return avx512_bf16::conv_pack(pack, exec);
  pack_tiles(pack, tile_layout(pack.shape, exec));
}

void conv_query(const ConvQuery& query, Exec exec) {
  const ConvShape& s = query.shape;
  if (!by_tiles(s)) return avx512_bf16::conv_query(query, exec);
  const TileLayout layout = tile_layout(s, exec);
  *query.answer = {kDirectTiles, layout.packed_bytes(), layout.workspace_bytes(s), kDirectTiles,
                   "direct, AMX bf16 products"};
}

}  // namespace hgfast::cpu::HGFAST_ISA
