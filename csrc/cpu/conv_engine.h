// The loops around the GEMM: blocks of tiles, groups of output channels, points; and their sharing between threads.
#pragma once

#include <cstring>
#include <type_traits>

#include "cpu/conv_tiles.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {

template <class Tiles>
class ConvEngine {
  using Input = typename Tiles::Input;
  using Output = typename Tiles::Output;
  using Product = typename Tiles::Product;

 public:
  ConvEngine(const Conv& conv, const ConvLayout& layout) : conv_(conv), layout_(layout), epilogue_(conv) {}

  void run() const {
    if (layout_.input == ConvInput::kStem) add_borders();
    layout_.shared ? run_shared() : run_private();
  }

 private:
  float* workspace() const { return static_cast<float*>(conv_.workspace); }
  float* m_of(int64_t slot) const { return workspace() + layout_.shared_floats() + slot * layout_.thread_floats(); }
  float* scratch_of(int64_t slot) const { return m_of(slot) + layout_.m_floats(); }
  float* v_of(int64_t slot) const { return layout_.shared ? workspace() : scratch_of(slot) + layout_.scratch_floats(); }

  void run_private() const {
    const int64_t blocks = ceil_div(layout_.tiles, layout_.tile_block);
    const int64_t run = std::max<int64_t>(1, blocks / (16 * layout_.threads));  // neighbours: one prefetches the next
    parallel_for(blocks, run, layout_.threads, [&](int64_t begin, int64_t end, int slot) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * layout_.tile_block, count = block_size(first);
        if (layout_.input == ConvInput::kPanel) gather(first, 0, count, slot);
        for (int64_t group = 0; group < layout_.k_groups; ++group) multiply(first, count, group, slot);
      }
    });
  }

  void run_shared() const {
    for (int64_t first = 0; first < layout_.tiles; first += layout_.tile_block) {
      const int64_t count = block_size(first);
      if (layout_.input == ConvInput::kPanel)
        parallel_for(count, ceil_div(count, layout_.threads), layout_.threads,
                     [&](int64_t begin, int64_t end, int slot) { gather(first, begin, end, slot); });
      parallel_for(layout_.k_groups, 1, layout_.threads, [&](int64_t begin, int64_t end, int slot) {
        for (int64_t group = begin; group < end; ++group) multiply(first, count, group, slot);
      });
    }
  }

  PointRows point_rows(int64_t first) const {
    const int64_t c = conv_.shape.c;
    return {static_cast<const float*>(conv_.x) + first * c, c, kConvLanes};
  }

  StemRows stem_rows(int64_t first) const {
    const ConvShape& s = conv_.shape;
    const TilePosition at(layout_, first);
    const int64_t row = (s.w + s.kernel - 1) * s.c;
    return {workspace() + (at.image * (s.h + s.kernel - 1) + at.y * s.stride) * row, s.stride * s.c, row};
  }

  // Copies the images to the workspace, with zeros around them.
  void add_borders() const {
    const ConvShape& s = conv_.shape;
    const int64_t border = s.kernel / 2, height = s.h + 2 * border, side = border * s.c, width = s.w * s.c;
    parallel_for(s.n * height, 16, layout_.threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        float* to = workspace() + row * (width + 2 * side);
        std::memset(to, 0, (width + 2 * side) * sizeof(float));
        const int64_t y = row % height - border;
        if (y < 0 || y >= s.h) continue;
        const Input* from = static_cast<const Input*>(conv_.x) + (row / height * s.h + y) * width;
        for (int64_t i = 0; i < width; i += kConvLanes)
          store_lanes(to + side + i, load_lanes(from + i, width - i), width - i);
      }
    });
  }

  // The last group is followed by the first one, of the next block. (What lies behind the weights may be another
  // thread's V: fetching that takes it out of its cache.)
  const float* weights_of(int64_t group) const {
    return static_cast<const float*>(conv_.weight) + group * layout_.group_rows() * kGemmWidth;
  }

  int64_t block_size(int64_t first) const { return std::min(layout_.tile_block, layout_.tiles - first); }

  void gather(int64_t first, int64_t begin, int64_t end, int slot) const {
    for (int64_t t = begin; t < end; ++t) Tiles::gather(conv_, layout_, first + t, t, v_of(slot), scratch_of(slot));
  }

  // The output channels `group` of tiles first .. first + count.
  void multiply(int64_t first, int64_t count, int64_t group, int slot) const {
    const ConvLayout& l = layout_;
    const KGroup channels(conv_.shape.k, group);
    const float *u = weights_of(group), *next = weights_of((group + 1) % l.k_groups);
    if constexpr (Tiles::kPixels) {
      const PixelSink<Input, Output> pixels{conv_, epilogue_, l, first, channels};
      const auto product = [&](const auto& v, int64_t blocks) {
        multiply_panel<Product>(v, count, u, blocks, channels.width, pixels, next);
      };
      if (l.input == ConvInput::kPanel) product(PanelRows{v_of(slot), l.v_block()}, l.panel_blocks());
      if constexpr (std::is_same_v<Input, float>)
        if (l.input == ConvInput::kPoints) product(point_rows(first), l.blocks);
      if (l.input == ConvInput::kStem) product(stem_rows(first), conv_.shape.kernel);
    } else {
      multiply_points(count, u, next, channels.width, slot);
      scatter(first, count, channels, {v_of(slot) + l.v_scales(), u + l.channel_scales(channels.width)}, slot);
    }
  }

  // next: the weights that are wanted after these.
  void multiply_points(int64_t count, const float* u, const float* next, int width, int slot) const {
    const ConvLayout& l = layout_;
    const float* v = v_of(slot);
    float* m = m_of(slot);
    const int64_t panel = l.point_rows() * width, extra = l.separate_extra_blocks();
    for (int64_t p = 0; p < l.tiling.points; ++p, u += panel)
      multiply_panel<Product>(PanelRows{v + p * l.v_point(), l.v_block()}, count, u, l.blocks, width,
                              PanelSink{m + p * l.m_point(width)}, p + 1 < l.tiling.points || extra ? u + panel : next);
    if (extra)
      multiply_panel<typename Tiles::ExtraProduct>(PanelRows{v + l.tiling.points * l.v_point(), l.extra_v_block()},
                                                   count * l.tile_pixels(), u, extra, width,
                                                   PanelSink{m + l.m_main_floats()}, next);
  }

  void scatter(int64_t first, int64_t count, const KGroup& channels, Scales scales, int slot) const {
    const float *m = m_of(slot), *extra = m + layout_.m_main_floats();
    for (int64_t t = 0; t < count; ++t) {
      const TilePosition at(layout_, first + t);
      for (int64_t k = 0; k < channels.width && channels.first + k < conv_.shape.k; k += kConvLanes)
        Tiles::scatter(epilogue_, conv_.shape, layout_, at, t, m + k, extra + k, channels.width, channels.first + k,
                       {scales.of_tiles, scales.of_channels + k});
    }
  }

  const Conv& conv_;
  const ConvLayout& layout_;
  const ConvEpilogue<Output> epilogue_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
