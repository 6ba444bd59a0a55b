// How a convolution of codes is cut up: always the direct algorithm of conv_layout.h, whose numbers are four channels.
//
// Rows of the GEMM are output pixels, gathered with all taps into V, one behind the other, with the code of zero for
// what is outside of the image; a 1x1 convolution of stride 1 reads the image itself. Packed weights are groups of
// kGemmWidth output channels, each row four input channels of them, read from end to end. Per output pixel 2 * rows * 4
// * k operations; bytes: the image once, the weights once for each block of pixels (from L2) and once in all from
// memory, the outputs once. Sums of kChunk pixels and one group go through L1 to the epilogue.
#pragma once

#include "common/conv_int8.h"
#include "cpu/conv_gemm.h"
#include "cpu/conv_layout.h"

namespace hgfast::cpu::HGFAST_ISA {

struct Int8Layout {
  int64_t pixels;        // of the result, of all images
  int64_t rows;          // of the reduction, in numbers of four channels
  int64_t blocks;        // the same in vectors
  int64_t extra_blocks;  // of the extra input
  int64_t k_groups;
  int64_t pixel_block;  // pixels in V
  int64_t threads;
  bool points;  // no V: pixels lie as rows do
  bool shared;  // one V for all threads, each of which makes its own channels

  static constexpr int64_t kApart = 2048;  // floats, see ConvLayout
  static constexpr int64_t kChunk = 2 * kGemmRows;

  int64_t panel_blocks() const { return blocks + extra_blocks; }
  int64_t group_rows() const { return panel_blocks() * kConvLanes; }
  int64_t packed_bytes() const { return k_groups * group_rows() * kGemmWidth * static_cast<int64_t>(sizeof(float)); }
  // Floats from one pixel of V to the next; an odd number of vectors, or rows would meet in few of the cache's sets.
  int64_t v_row() const { return (panel_blocks() | 1) * kConvLanes; }
  int64_t v_floats() const { return points ? 0 : pixel_block * v_row() + kConvLanes; }
  int64_t sums_floats() const { return kChunk * kGemmWidth; }
  int64_t thread_floats() const { return sums_floats() + (shared ? 0 : v_floats()) + kApart; }
  int64_t shared_floats() const { return shared ? v_floats() : 0; }
  int64_t workspace_bytes() const {
    return (shared_floats() + threads * thread_floats()) * static_cast<int64_t>(sizeof(float));
  }
};

// Throws std::invalid_argument for shapes that no kernel takes.
Int8Layout int8_layout(const ConvShape& shape, Exec exec);

}  // namespace hgfast::cpu::HGFAST_ISA
