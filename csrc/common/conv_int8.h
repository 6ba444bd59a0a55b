// One fused convolution of 8-bit integers (CPU): common/conv.h, with activations that are codes.
//
// A code is a uint8 that stands for scale * (code - zero), with one scale and one zero for a whole tensor; behind a
// ReLU zero is 0. Weights are int8, with one scale for each output channel and no zero. Sums are exact in int32; then,
// in registers and in float32,
//
//   v = sum * scale + bias + residual      scale: the input's times the weight's; bias: with the zeros of the inputs,
//   v = max(v, 0)                          which are the same for every pixel, as borders are filled with that code
//   y = v, or upsample_to + nearest2x(v)   written as numbers (y), as codes (y_codes), or as both
//   y2 = max(scale2 * y + shift2, 0)       likewise
//
// The numbers become codes by rounding to the nearest, ties to even, and saturate at 0 and 255; NaN becomes 0.
// extra_x has its own scale: whoever makes the weights takes it into those of the extra input.
#pragma once

#include "common/conv.h"

namespace hgfast {

struct Codes {
  float scale = 1;
  int64_t zero = 0;  // 0 .. 255
};

// A tensor that is read as numbers of shape.dtype or, with `coded`, as codes; data may be null.
struct CodedInput {
  const void* data = nullptr;
  int64_t coded = 0;
  Codes codes;
};

// Where a tensor is written to, as numbers of shape.dtype, as codes, or as both; either may be null.
struct CodedOutput {
  void* numbers = nullptr;
  uint8_t* codes = nullptr;
  Codes of_codes;
};

struct ConvInt8 {
  ConvShape shape;             // c and extra_c: multiples of 4; dtype: float32 or bfloat16, of all that is no code
  const uint8_t* x = nullptr;  // (n, h, w, c)
  int64_t x_zero = 0;          // the code of 0
  const uint8_t* extra_x = nullptr;  // (n, extra_h, extra_w, extra_c) or null; where it is read it has no border
  const void* weight = nullptr;      // packed by conv_int8_pack
  const float* scale = nullptr;      // (k)
  const float* bias = nullptr;       // (k)
  CodedInput residual;               // (n, p, q, k)
  CodedInput upsample_to;            // (n, out_h, out_w, k)
  int64_t relu = 0;
  CodedOutput y;                  // (n, out_h, out_w, k)
  const float* scale2 = nullptr;  // (k), with y2
  const float* shift2 = nullptr;  // (k), with y2
  CodedOutput y2;                 // (n, out_h, out_w, k)
  void* workspace = nullptr;      // 64-byte aligned
  int64_t workspace_bytes = 0;
};

struct ConvInt8Pack {
  ConvShape shape;
  const int8_t* weight = nullptr;  // (k, c, kernel, kernel)
  const int8_t* extra = nullptr;   // (k, extra_c) or null
  void* packed = nullptr;          // packed_bytes, 64-byte aligned
};

struct ConvInt8Query {
  ConvShape shape;
  struct Answer {
    int64_t packed_bytes = 0, workspace_bytes = 0;
    const char* kernel = "";  // its name, for people
    int64_t fast = 0;         // whether the processor has instructions for products of 8 bits
  };
  Answer* answer = nullptr;
};

// codes = code of each number of x.
struct Quantise {
  const void* x = nullptr;  // (count), of dtype
  uint8_t* codes = nullptr;
  Codes of_codes;
  DType dtype = DType::kFloat32;  // or kBFloat16
  int64_t count = 0;
};

// numbers = what each code stands for.
struct Dequantise {
  const uint8_t* codes = nullptr;  // (count)
  Codes of_codes;
  void* numbers = nullptr;        // (count), of dtype
  DType dtype = DType::kFloat32;  // or kBFloat16
  int64_t count = 0;
};

// 2x2 maxima of codes, which are in the order of what they stand for: (n, h, w, c) to (n, h / 2, w / 2, c).
struct MaxPoolCodes {
  const uint8_t* x = nullptr;
  uint8_t* y = nullptr;
  int64_t n = 0, h = 0, w = 0, c = 0;
};

}  // namespace hgfast

// As the tables of common/ops.h; the first ones gain from VNNI.
#define HGFAST_FOR_EACH_INT8_CONV_OP(X) \
  X(conv_int8, ConvInt8)                \
  X(conv_int8_pack, ConvInt8Pack)       \
  X(conv_int8_query, ConvInt8Query)
#define HGFAST_FOR_EACH_INT8_PLAIN_OP(X) \
  X(quantise, Quantise)                  \
  X(dequantise, Dequantise)              \
  X(max_pool_codes, MaxPoolCodes)
