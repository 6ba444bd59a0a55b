// Weights in pairs: packed as for float32, and then row upon row in bfloat16, or scaled to int16 (conv_int16.h).
#include "common/ops.h"
#include "cpu/buffer.h"
#include "cpu/conv_int16.h"
#include "cpu/conv_pack.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

// One vector of output channels of a run of rows, `width` floats apart; 0 beyond their end.
struct Rows {
  const float* first;
  int64_t count, width;

  VecF operator[](int64_t row) const { return row < count ? load(first + row * width) : VecF{}; }
};

VecF bfloat16_pairs(VecF first, VecF second) {
  return bit_cast<VecF>(bfloat16_bits(first) | bfloat16_bits(second) << 16);
}

void pair_neighbours(const Rows& from, int64_t pairs, float* to) {
  for (int64_t row = 0; row < pairs; ++row, to += from.width)
    store(to, bfloat16_pairs(from[2 * row], from[2 * row + 1]));
}

// Returns what the numbers are to be multiplied by. Vectors of input channels are paired with their neighbours.
VecF pair_scaled(const Rows& from, int64_t blocks, float* to) {
  VecF squares = {};
  for (int64_t row = 0; row < from.count; ++row) squares += from[row] * from[row];
  const Int16Scale scale(squares);
  for (int64_t row = 0; row < 2 * blocks * kConvLanes; row += 2 * kConvLanes)
    for (int64_t i = row; i < row + kConvLanes; ++i, to += from.width)
      store(to, int16_pairs(from[i], from[i + kConvLanes], scale.to));
  return scale.from;
}

// One vector of a group's output channels, from the packing of the layout `plain`.
void pair_group(const ConvLayout& plain, const float* from, const ConvLayout& l, float* to, int width) {
  for (int64_t p = 0; p < l.tiling.points; ++p) {
    const Rows rows{from + p * plain.point_rows() * width, plain.blocks * kConvLanes, width};
    float* point = to + p * l.point_rows() * width;
    if (l.scaled())
      store(to + l.channel_scales(width) + p * width, pair_scaled(rows, l.blocks, point));
    else
      pair_neighbours(rows, l.blocks * kConvLanes, point);
  }
  const int64_t skipped = plain.direct() ? plain.blocks * kConvLanes : plain.tiling.points * plain.point_rows();
  const int64_t paired = l.direct() ? l.blocks * kConvLanes : l.tiling.points * l.point_rows();
  const Rows extra{from + skipped * width, plain.extra_blocks * kConvLanes, width};
  pair_neighbours(extra, l.extra_blocks * kConvLanes, to + paired * width);
}

}  // namespace

void pack_pairs(const WeightView& weight, const float* extra, const ConvShape& shape, const ConvLayout& layout,
                float* packed) {
  ConvShape alone = shape;
  alone.algorithm = static_cast<int64_t>(without_pairs(layout.tiling.algorithm));
  const ConvLayout plain = conv_layout(alone, layout.threads);
  Buffer<float> buffer;
  float* from = buffer.reserve(plain.packed_floats());
  pack_weights(weight, extra, alone, plain, from);
  parallel_for(layout.k_groups, 1, layout.threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t group = begin; group < end; ++group) {
      const KGroup channels(shape.k, group);
      for (int64_t k = 0; k < channels.width; k += kConvLanes)
        pair_group(plain, from + group * plain.group_rows() * kGemmWidth + k, layout,
                   packed + group * layout.group_rows() * kGemmWidth + k, channels.width);
    }
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
