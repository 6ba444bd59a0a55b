// The convolutions of a training step on the CPU, float32, NHWC: weights come as torch has them, at every call anew.
// Padding is (kernel - 1) / 2.
#pragma once

#include "common/conv.h"

namespace hgfast {

// y = conv(x, weight) + bias + addend; or, with `transposed`, the gradient of the input of a convolution of stride 1:
// there x is the gradient of its result, y that of its input, and (shape.k, shape.c) are its weight's input and output
// channels.
struct ConvTrain {
  ConvShape shape;
  const void* x = nullptr;        // (n, h, w, c)
  const float* weight = nullptr;  // (k, c, r, r), or transposed (c, k, r, r)
  const float* bias = nullptr;    // (k) or null
  const void* addend = nullptr;   // (n, p, q, k) or null; may be y
  void* y = nullptr;              // (n, p, q, k)
  int64_t transposed = 0;
  int64_t weight_channels_last = 0;  // weight's order in memory: OHWI instead of OIHW
};

// The gradient of the input of a convolution of stride 2 with a 1x1 or 3x3 kernel, plus addend.
struct ConvStridedGrad {
  ConvShape shape;                // of the convolution
  const float* grad = nullptr;    // (n, p, q, k)
  const float* weight = nullptr;  // (k, c, r, r)
  const float* addend = nullptr;  // (n, h, w, c) or null; may be x_grad
  float* x_grad = nullptr;        // (n, h, w, c)
  int64_t weight_channels_last = 0;
};

// The gradient of the weight of a convolution.
struct ConvWeightGrad {
  ConvShape shape;                   // of the convolution
  const float* x = nullptr;          // (n, h, w, c)
  const float* grad = nullptr;       // (n, p, q, k)
  float* weight_grad = nullptr;      // (k, c, r, r)
  int64_t weight_channels_last = 0;  // its order in memory: OHWI instead of OIHW
};

}  // namespace hgfast
