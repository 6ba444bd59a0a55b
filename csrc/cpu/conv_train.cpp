// Forward and input gradient of a training step's convolutions: packs the weights, then runs the fused convolution of
// conv.cpp. The input gradient of stride 1 is the same convolution with turned, transposed weights.
#include "common/ops.h"
#include "cpu/buffer.h"
#include "cpu/conv_pack.h"

namespace hgfast::cpu::HGFAST_ISA {

void conv(const Conv& conv, Exec exec);

void conv_train(const ConvTrain& train, Exec exec) {
  const ConvShape& s = train.shape;
  HGFAST_CHECK(s.algorithm != 0, "conv_train: the shape must name the algorithm");
  HGFAST_CHECK(!train.transposed || s.stride == 1, "conv_train: an input gradient must be of stride 1, got ", s.stride);
  const ConvLayout layout = conv_layout(s, exec);
  const bool swap = train.transposed != 0;
  const WeightView dense =
      WeightView::dense(train.weight, swap ? s.k : s.c, s.kernel * s.kernel, train.weight_channels_last != 0);
  Workspace workspace{layout.packed_floats(), layout.workspace_floats()};
  float* packed = workspace.take(layout.packed_floats());
  pack_weights(swap ? dense.transposed() : dense, nullptr, s, layout, packed);
  Conv problem;
  problem.shape = s, problem.x = train.x, problem.weight = packed, problem.bias = train.bias;
  problem.residual = train.addend, problem.y = train.y, problem.workspace = workspace.take(layout.workspace_floats());
  problem.workspace_bytes = layout.workspace_floats() * static_cast<int64_t>(sizeof(float));
  conv(problem, exec);
}

}  // namespace hgfast::cpu::HGFAST_ISA
