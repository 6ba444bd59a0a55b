// The convolution of codes (common/conv_int8.h): blocks of pixels, groups of output channels and their sharing between
// threads, around the GEMM of conv_gemm.h with products of 8 bits. Bound by the products on maps of 16x16 pixels and
// more, by reading the weights below.
#include "cpu/conv_int8_epilogue.h"
#include "cpu/conv_int8_gather.h"
#include "cpu/conv_int8_product.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

template <class T>
class Int8Engine {
 public:
  Int8Engine(const ConvInt8& conv, const Int8Layout& layout)
      : conv_(conv), layout_(layout), epilogue_(conv), gather_(conv, layout) {}

  void run() const { layout_.shared ? run_shared() : run_private(); }

 private:
  void run_private() const {
    const int64_t blocks = ceil_div(layout_.pixels, layout_.pixel_block);
    const int64_t run = std::max<int64_t>(1, blocks / (16 * layout_.threads));
    parallel_for(blocks, run, layout_.threads, [&](int64_t begin, int64_t end, int slot) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * layout_.pixel_block, count = block_size(first);
        if (!layout_.points) gather(first, 0, count, slot);
        for (int64_t group = 0; group < layout_.k_groups; ++group) multiply(first, count, group, slot);
      }
    });
  }

  void run_shared() const {
    for (int64_t first = 0; first < layout_.pixels; first += layout_.pixel_block) {
      const int64_t count = block_size(first);
      if (!layout_.points)
        parallel_for(count, ceil_div(count, layout_.threads), layout_.threads,
                     [&](int64_t begin, int64_t end, int slot) { gather(first, begin, end, slot); });
      parallel_for(layout_.k_groups, 1, layout_.threads, [&](int64_t begin, int64_t end, int slot) {
        for (int64_t group = begin; group < end; ++group) multiply(first, count, group, slot);
      });
    }
  }

  int64_t block_size(int64_t first) const { return std::min(layout_.pixel_block, layout_.pixels - first); }

  float* workspace() const { return static_cast<float*>(conv_.workspace); }
  float* sums_of(int64_t slot) const { return workspace() + layout_.shared_floats() + slot * layout_.thread_floats(); }
  float* v_of(int64_t slot) const { return layout_.shared ? workspace() : sums_of(slot) + layout_.sums_floats(); }

  void gather(int64_t first, int64_t begin, int64_t end, int slot) const {
    for (int64_t row = begin; row < end; ++row) gather_.pixel(first + row, v_of(slot) + row * layout_.v_row());
  }

  const float* weights_of(int64_t group) const {
    return static_cast<const float*>(conv_.weight) + group * layout_.group_rows() * kGemmWidth;
  }

  PointRows rows_of(int64_t first, int64_t slot) const {
    const int64_t c = conv_.shape.c / 4;
    if (layout_.points) return {reinterpret_cast<const float*>(conv_.x) + first * c, c, kConvLanes};
    return {v_of(slot), layout_.v_row(), kConvLanes};
  }

  // The output channels `group` of pixels first .. first + count.
  void multiply(int64_t first, int64_t count, int64_t group, int slot) const {
    const KGroup channels(conv_.shape.k, group);
    const float *u = weights_of(group), *next = weights_of((group + 1) % layout_.k_groups);
    const PanelSink sums{sums_of(slot)};
    PointRows rows = rows_of(first, slot);
    for (int64_t row = 0; row < count; row += Int8Layout::kChunk, rows.x += Int8Layout::kChunk * rows.distance) {
      const int64_t part = std::min(Int8Layout::kChunk, count - row);
      multiply_panel<Int8Product>(rows, part, u, layout_.panel_blocks(), channels.width, sums, next);
      epilogue_.finish(sums.m, channels.width, part, first + row, channels.first);
    }
  }

  const ConvInt8& conv_;
  const Int8Layout& layout_;
  const Int8Epilogue<T> epilogue_;
  const Int8Gather gather_;
};

}  // namespace

void conv_int8(const ConvInt8& conv, Exec exec) {
  const Int8Layout layout = int8_layout(conv.shape, exec);
  if (layout.pixels == 0 || conv.shape.k == 0) return;
  const int64_t needed = layout.workspace_bytes();
  HGFAST_CHECK(conv.workspace_bytes >= needed, "conv_int8: workspace must have ", needed, " bytes for ", layout.threads,
               " threads, got ", conv.workspace_bytes);
  conv.shape.dtype == DType::kBFloat16 ? Int8Engine<BFloat16>(conv, layout).run()
                                       : Int8Engine<float>(conv, layout).run();
}

}  // namespace hgfast::cpu::HGFAST_ISA
