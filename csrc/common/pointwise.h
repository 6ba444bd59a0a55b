// What stands between the convolutions, norms and merges of a residual block: sums, ReLU and its gradient, the gradient
// of a bias, and running statistics. float32 on the CPU.
#pragma once

#include "common/batch_norm_act.h"

namespace hgfast {

enum class PointwiseKind : int64_t {
  kSum = 0,           // out = a + b
  kRelu = 1,          // out = max(a, 0); NaN stays
  kReluBackward = 2,  // out = a where b > 0 or b is NaN, else 0
};

// `count` elements of any order in memory; out may be a or b.
struct Pointwise {
  PointwiseKind kind;
  const float *a = nullptr, *b = nullptr;
  float* out = nullptr;
  int64_t count = 0;
};

// sum[c] = sum of x[row][c] over all rows. workspace: shape.workspace_size() numbers. shape: float32, NHWC.
struct ChannelSum {
  const float* x = nullptr;
  float *sum = nullptr, *workspace = nullptr;
  BatchNormShape shape;
};

// running = (1 - momentum) * running + momentum * batch; the variance as that of a sample of `count` values.
struct MoveRunning {
  const float *mean = nullptr, *var = nullptr;
  float *running_mean = nullptr, *running_var = nullptr;
  int64_t c = 0;
  double momentum = 0, count = 0;
};

}  // namespace hgfast
