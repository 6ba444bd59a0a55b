// A whole pre-activation bottleneck of an inference plan as one call:
//
//   t = max(scale1 * x + shift1, 0)           BatchNorm-ReLU that opens the block, applied as x is read
//   t = max(conv1(t) + bias1, 0)              1x1, c -> m, the BatchNorm behind it folded in
//   t = max(conv2(t) + bias2, 0)              3x3, m -> m, likewise; zeros around t (not around x)
//   v = conv3(t) + bias3 + x                  1x1, m -> c
//   y = v, or upsample_to + nearest2x(v); y2 = max(scale2 * y + shift2, 0) if y2: as in common/conv.h
//
// Layouts and parameters are those of common/conv.h, and each weight is packed by the backend's conv_pack for the
// algorithm that bottleneck_query names. t is rounded to the dtype wherever the three convolutions would store it.
// y may be the very buffer of upsample_to, but not that of x: neighbouring pixels read x too.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace hgfast {

struct BottleneckShape {
  int64_t n = 0, h = 0, w = 0, c = 0, m = 0;
  int64_t out_h = 0, out_w = 0;   // size of y: (h, w), or upsample_to's: h = ceil(out_h / 2), w = ceil(out_w / 2)
  DType dtype = DType::kFloat32;  // of x, upsample_to, y, y2
  int64_t algorithm = 0;          // 0: chosen by the backend; else one of its own numbers
};

struct Bottleneck {
  BottleneckShape shape;
  const void* x = nullptr;  // (n, h, w, c)
  const float* scale1 = nullptr;
  const float* shift1 = nullptr;      // (c) both
  const void* weight1 = nullptr;      // packed (m, c, 1, 1)
  const float* bias1 = nullptr;       // (m)
  const void* weight2 = nullptr;      // packed (m, m, 3, 3)
  const float* bias2 = nullptr;       // (m)
  const void* weight3 = nullptr;      // packed (c, m, 1, 1)
  const float* bias3 = nullptr;       // (c)
  const void* upsample_to = nullptr;  // (n, out_h, out_w, c) or null
  void* y = nullptr;                  // (n, out_h, out_w, c)
  const float* scale2 = nullptr;      // (c), with y2
  const float* shift2 = nullptr;      // (c), with y2
  void* y2 = nullptr;                 // (n, out_h, out_w, c) or null
  void* workspace = nullptr;          // as in common/conv.h
  int64_t workspace_bytes = 0;
};

// Whether the backend has a kernel for a whole block, and whether it is faster than three convolutions.
struct BottleneckQuery {
  BottleneckShape shape;
  struct Answer {
    int64_t algorithm = 0;  // the one chosen, or shape.algorithm; 0: there is no kernel
    int64_t pays = 0;       // 1: it is expected to be faster
    int64_t conv_algorithms[3] = {0, 0, 0};
    int64_t workspace_bytes = 0;
    const char* kernel = "";  // its name, for people
  };
  Answer* answer = nullptr;
};

}  // namespace hgfast
