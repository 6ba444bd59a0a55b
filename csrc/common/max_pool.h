// 2x2 max-pooling of stride 2: the pool of Newell's hourglass, with the second output of common/conv.h (the
// BatchNorm-ReLU of the pre-activation block behind it), and its gradient. The winner of a cell is torch's: the first
// maximum in row-major order, or the last NaN. NCHW is NHWC with n * c images of one channel.
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

// x_grad = addend (or 0 where it is null) + grad (n, h / 2, w / 2, c) at the winners, which are found in x once more;
// x, addend and x_grad are (n, h, w, c), all NHWC. The addend is the gradient of another consumer of x.
struct MaxPoolBackward {
  const void* x;
  const void* grad;
  const void* addend;
  void* x_grad;
  DType dtype;
  int64_t n, h, w, c;
};

}  // namespace hgfast
