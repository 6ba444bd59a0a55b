// 2x2 max-pooling of stride 2 with the second output of common/conv.h: the pool of Newell's hourglass and the
// BatchNorm-ReLU of the pre-activation block behind it.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace hgfast {

// x is (n, h, w, c), y and y2 are (n, h / 2, w / 2, c), all NHWC; y2 = max(scale2 * y + shift2, 0), or null.
struct MaxPool {
  const void* x;
  void* y;
  const float* scale2;
  const float* shift2;
  void* y2;
  DType dtype;
  int64_t n, h, w, c;
};

}  // namespace hgfast
