// out = relu(batch_norm(x) + residual): four kernels from which forward, backward, evaluation and synchronised training
// are made. Activations are (n, hw, c) dense in `layout`; mean, var, weight, bias and their gradients are c numbers of
// the statistics' type: double where activations are float64, else float.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/dtype.h"
#include "common/host_device.h"

namespace hgfast {

// Activations as rows of `run` elements. NHWC: a row is a pixel, its elements are the channels. NCHW: a row is one
// channel of one image, its elements are the pixels.
struct BatchNormShape {
  DType dtype;
  Layout layout;
  int64_t n, hw, c;

  bool nhwc() const { return layout == Layout::kNHWC; }
  int64_t rows() const { return nhwc() ? n * hw : n * c; }
  int64_t run() const { return nhwc() ? c : hw; }
  int64_t count() const { return n * hw; }  // elements of a channel

  // ReLU's mask has one bit per element, least significant first; each row starts a new 16-bit word.
  int64_t mask_row_bytes() const { return (run() + 15) / 16 * 2; }
  int64_t mask_bytes() const { return rows() * mask_row_bytes(); }

  // Sums over a channel are taken over chunks first, then over the chunks in order, so the result depends on the shape
  // alone. On the CPU (cuda/batch_norm_chunks.h has CUDA's). NHWC: a chunk is so many pixels (about 128 KiB of float32,
  // at most 512 chunks). NCHW: one image.
  int64_t chunk_rows() const {
    if (!nhwc()) return 1;
    constexpr int64_t kElements = 32768, kMaxRows = 256, kMaxChunks = 512;
    const int64_t rows_of_chunk = std::min(kMaxRows, kElements / std::max<int64_t>(c, 1));
    return std::max({int64_t{1}, rows_of_chunk, (rows() + kMaxChunks - 1) / kMaxChunks});
  }
  int64_t chunks() const { return nhwc() ? (rows() + chunk_rows() - 1) / chunk_rows() : n; }
  int64_t chunk_count(int64_t chunk) const {  // elements of a channel in a chunk
    return nhwc() ? std::min(chunk_rows(), rows() - chunk * chunk_rows()) : hw;
  }
  int64_t padded_c() const { return (c + 15) / 16 * 16; }
  int64_t workspace_size() const { return chunks() * 2 * padded_c(); }  // numbers: (chunk, 2, padded_c)
};

// Running statistics and how they move. mean, var: c numbers of the statistics' type, or null.
struct BatchNormRunning {
  void *mean = nullptr, *var = nullptr;
  int64_t* batches = nullptr;  // counts this batch, if not null
  double momentum = 0;         // share of this batch's statistics
  bool cumulative = false;     // the share is 1 / *batches instead, this batch counted: the mean over all of them
};

// A running statistic after a batch. A variance moves towards that of a sample of `count` values.
HGFAST_HOST_DEVICE inline double moved(double running, double of_batch, double share) {
  return (1 - share) * running + share * of_batch;
}
HGFAST_HOST_DEVICE inline double of_sample(double biased, double count) {
  return biased * (count / (count > 1 ? count - 1 : 1));
}

// What a backend's sums over channels need: numbers of workspace, and tickets, 32 bits each. Tickets are zero before a
// call and zero after it; calls that may run at the same time share none.
struct BatchNormNeeds {
  int64_t workspace, tickets;
};

namespace cpu {
inline BatchNormNeeds batch_norm_needs(const BatchNormShape& shape) { return {shape.workspace_size(), 0}; }
}  // namespace cpu

// Mean and biased variance of each channel of x.
struct BatchNormStats {
  const void* x;
  void *mean, *var, *workspace;
  BatchNormShape shape;
  BatchNormRunning running = {};
  uint32_t* tickets = nullptr;
};

// y = (x - mean) / sqrt(var + eps) * weight + bias + residual; out = relu ? max(y, 0) : y (NaN stays NaN).
// weight, bias, residual and mask may be null. mask gets the bits of y > 0. out may be x or residual.
struct BatchNormApply {
  const void *x, *residual, *mean, *var, *weight, *bias;
  void *out, *mask;
  BatchNormShape shape;
  double eps;
  bool relu;
};

// How the backward kernels know where ReLU let the gradient through.
enum class ReluGate : int {
  kNone = 0,      // there is no ReLU
  kMask = 1,      // from the mask that BatchNormApply wrote
  kRecompute = 2  // by computing y once more, from x and (where not null) residual
};

// What both backward kernels read. g = (grad + grad2) where y > 0, else 0. grad2 may be null.
struct BatchNormGradient {
  const void *grad, *grad2, *x, *residual, *mask, *mean, *var, *weight, *bias;
  BatchNormShape shape;
  double eps;
  ReluGate gate;
};

// bias_grad = sum of g, weight_grad = sum of g * (x - mean) / sqrt(var + eps), over each channel.
// masked, if not null, gets g (the gradient of residual); it may be grad or grad2.
struct BatchNormBackwardReduce {
  BatchNormGradient gradient;
  void *masked, *weight_grad, *bias_grad, *workspace;
  uint32_t* tickets = nullptr;
};

// x_grad = scale * g, and with batch statistics
// x_grad = scale * (g - bias_grad / count - (x - mean) / sqrt(var + eps) * weight_grad / count),
// scale = weight / sqrt(var + eps). addend, if not null, is added: the gradient that reaches x another way. x_grad may
// be any of the tensors read. count: elements of a channel over all processes.
struct BatchNormBackwardApply {
  BatchNormGradient gradient;
  const void *weight_grad, *bias_grad, *addend;
  void* x_grad;
  double count;
  bool batch_statistics;
};

}  // namespace hgfast
