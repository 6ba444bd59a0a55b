// Blocking and packed weights of convolutions of codes (conv_int8_layout.h).
#include "common/check.h"
#include "cpu/cache_size.h"
#include "cpu/conv_int8_layout.h"
#include "cpu/conv_int8_product.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

// 255 * 128 of each product: more could overflow int32.
constexpr int64_t kLongest = 0x7fffffff / (255 * 128);

void check(const ConvShape& s) {
  HGFAST_CHECK(s.dtype == DType::kFloat32 || s.dtype == DType::kBFloat16,
               "conv_int8: numbers must be float32 or bfloat16, got dtype code ", int(s.dtype));
  HGFAST_CHECK(s.c > 0 && s.c % 4 == 0 && s.extra_c % 4 == 0, "conv_int8: channels must be multiples of 4, got ", s.c,
               " and ", s.extra_c);
  const int64_t length = s.kernel * s.kernel * s.c + s.extra_c;
  HGFAST_CHECK(length <= kLongest, "conv_int8: sums must be of at most ", kLongest, " products, got ", length);
}

// Of one group, a tap's input channels or the extra ones, in rows of `width` channels: element (k, c) is
// from[k * k_step + c * c_step].
void pack_rows(const int8_t* from, int64_t k_step, int64_t c_step, int64_t count, int64_t c, int width, int8_t* to) {
  for (int64_t k = 0; k < count; ++k)
    for (int64_t i = 0; i < c; ++i) to[(i / 4 * width + k) * 4 + i % 4] = from[k * k_step + i * c_step];
}

}  // namespace

Int8Layout int8_layout(const ConvShape& s, Exec exec) {
  check(s);
  Int8Layout l;
  l.pixels = s.n * s.p * s.q;
  l.rows = s.kernel * s.kernel * s.c / 4;
  l.blocks = ceil_div(l.rows, kConvLanes);
  l.extra_blocks = ceil_div(s.extra_c / 4, kConvLanes);
  l.k_groups = ceil_div(s.k, kGemmWidth);
  l.threads = std::max<Exec>(exec, 1);
  l.points = s.kernel == 1 && s.stride == 1 && s.extra_c == 0 && l.rows % kConvLanes == 0;
  const int64_t pixel_bytes = l.panel_blocks() * kVecBytes;
  int64_t most = std::max<int64_t>(l2_bytes() * 3 / 4 / pixel_bytes, kGemmRows);
  if (l.packed_bytes() <= l2_bytes() / 2) most = kGemmRows;  // weights stay in L2, pixels pass L1 once
  const bool few = l.threads > 1 && l.pixels < l.threads * most;
  l.shared = few && (8 * l.pixels < s.k || 2 * l.pixels < l.threads * kGemmRows);
  if (l.shared) most *= l.threads;
  int64_t blocks = std::max<int64_t>(1, ceil_div(l.pixels, most));
  if (!l.shared) blocks = ceil_div(blocks, l.threads) * l.threads;
  l.pixel_block = std::max<int64_t>(1, ceil_div(l.pixels, blocks));
  return l;
}

void conv_int8_query(const ConvInt8Query& query, Exec exec) {
  const Int8Layout layout = int8_layout(query.shape, exec);
  *query.answer = {layout.packed_bytes(), layout.workspace_bytes(), kInt8Kernel, kFastInt8};
}

void conv_int8_pack(const ConvInt8Pack& pack, Exec exec) {
  const ConvShape& s = pack.shape;
  const Int8Layout l = int8_layout(s, exec);
  const int64_t taps = s.kernel * s.kernel, group_bytes = l.group_rows() * kGemmWidth * 4;
  parallel_for(l.k_groups, 1, l.threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t group = begin; group < end; ++group) {
      const KGroup channels(s.k, group);
      const int64_t count = std::min<int64_t>(channels.width, s.k - channels.first);
      auto* to = static_cast<int8_t*>(pack.packed) + group * group_bytes;
      std::memset(to, 0, group_bytes);
      const int8_t* from = pack.weight + channels.first * s.c * taps;
      for (int64_t tap = 0; tap < taps; ++tap)
        pack_rows(from + tap, s.c * taps, taps, count, s.c, channels.width, to + tap * s.c * channels.width);
      to += l.blocks * kConvLanes * channels.width * 4;
      if (pack.extra)
        pack_rows(pack.extra + channels.first * s.extra_c, s.extra_c, 1, count, s.extra_c, channels.width, to);
    }
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
