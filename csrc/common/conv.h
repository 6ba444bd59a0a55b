// One fused convolution of an inference plan: the problem that the CPU and CUDA kernels, and the emulator, share.
//
//   v = conv(x, weight) + extra + bias    extra: 1x1 (strided) convolution of extra_x, further K of the same GEMM
//   v = v + residual                      if residual
//   v = max(v, 0)                         if relu
//   y = v                                 without upsample_to, else
//   y = upsample_to + nearest2x(v)        v of pixel (i, j) goes to those of (2i..2i+1, 2j..2j+1) that exist in y
//   y2 = max(scale2 * y + shift2, 0)      if y2: BatchNorm-ReLU of the next pre-activation block
//
// Layout: every activation is NHWC and dense; padding is (kernel - 1) / 2. Convolution weights come packed by the
// backend's own conv_pack from float32 OIHW; bias, scale2 and shift2 are float32 whatever the dtype.
// y may be the very buffer of residual (without upsample_to) or of upsample_to: an element is read before it is
// written.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace hgfast {

struct ConvShape {
  int64_t n = 0, h = 0, w = 0, c = 0;  // input
  int64_t p = 0, q = 0, k = 0;         // convolution result: p = (h - 1) / stride + 1, q likewise
  int64_t kernel = 1, stride = 1;      // kernel: 1, 3 or 7
  int64_t out_h = 0, out_w = 0;        // size of y: (p, q), or upsample_to's: p = ceil(out_h / 2), q = ceil(out_w / 2)
  int64_t extra_h = 0, extra_w = 0;    // size of extra_x: p = (extra_h - 1) / extra_stride + 1
  int64_t extra_c = 0, extra_stride = 1;  // extra_c = 0: no extra input
  DType dtype = DType::kFloat32;          // of x, residual, upsample_to, extra_x, y, y2
  int64_t algorithm = 0;                  // 0: chosen by the backend; else one of its own numbers
  int64_t exact = 0;                      // float32 on CUDA: as good as float32 arithmetic, not tf32
};

struct Conv {
  ConvShape shape;
  const void* x = nullptr;            // (n, h, w, c)
  const void* weight = nullptr;       // packed, kernel and extra weights together
  const float* bias = nullptr;        // (k) or null
  const void* residual = nullptr;     // (n, p, q, k) or null
  const void* upsample_to = nullptr;  // (n, out_h, out_w, k) or null
  const void* extra_x = nullptr;      // (n, extra_h, extra_w, extra_c) or null
  void* y = nullptr;                  // (n, out_h, out_w, k)
  const float* scale2 = nullptr;      // (k), with y2
  const float* shift2 = nullptr;      // (k), with y2
  void* y2 = nullptr;                 // (n, out_h, out_w, k) or null
  int64_t relu = 0;
  void* workspace = nullptr;  // 64-byte aligned; on CUDA zero before its first call, and left fit for the next
  int64_t workspace_bytes = 0;
};

struct ConvPack {
  ConvShape shape;                // with the algorithm that the convolution will run with
  const float* weight = nullptr;  // (k, c, kernel, kernel), BatchNorm folded in
  const float* extra = nullptr;   // (k, extra_c) or null
  void* packed = nullptr;         // packed_bytes, 64-byte aligned
};

// What a backend needs for a shape; exec (the number of threads) counts on the CPU.
struct ConvQuery {
  ConvShape shape;
  struct Answer {
    int64_t algorithm = 0;  // the one chosen, or shape.algorithm
    int64_t packed_bytes = 0, workspace_bytes = 0;
    int64_t packing = 0;      // algorithms of the same number read the same packed weights
    const char* kernel = "";  // its name, for people
  };
  Answer* answer = nullptr;
};

}  // namespace hgfast
