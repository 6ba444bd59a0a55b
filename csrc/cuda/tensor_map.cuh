// TMA descriptors, made on the host: what a tensor in global memory looks like and which box of it one copy moves.
#pragma once

#include <array>

#include "cuda/ptx.cuh"

namespace hgfast::cuda {

// A tiled map. Dimensions start with the innermost, whose elements are adjacent. Elements out of range load as zeros.
struct TiledMap {
  const void* base;  // 16-byte aligned
  DType dtype;
  int rank;                                    // 1..5
  std::array<uint64_t, 5> sizes;               // in elements
  std::array<uint64_t, 4> strides;             // in bytes, of dimensions 1.., multiples of 16
  std::array<uint32_t, 5> box;                 // up to 256 each; the inner one a multiple of 16 bytes
  ptx::Swizzle swizzle = ptx::Swizzle::kNone;  // the inner box fills the swizzle's span
};

// An im2col map over an activation (C, W, H, N): a copy moves `pixels` consecutive filter positions x `channels`.
// Positions run over W, then H, then N: from `lower` to size - 1 + `upper`, in steps of `stride`. For a filter of size
// k with padding p: lower = -p, upper = p - (k - 1).
struct Im2colMap {
  const void* base;
  DType dtype;
  std::array<uint64_t, 4> sizes;
  std::array<uint64_t, 3> strides;  // in bytes, of W, H, N
  std::array<int, 2> lower, upper;  // of W and H, -128..127
  uint32_t channels, pixels;        // up to 256 and 1024
  uint32_t stride = 1;              // 1..8
  ptx::Swizzle swizzle = ptx::Swizzle::kNone;
};

}  // namespace hgfast::cuda

#ifdef HGFAST_EMULATOR
#include "emulator/tensor_map.h"
#else

namespace hgfast::cuda {

// The driver's function of that name; no library is linked for it.
template <class Function>
Function* driver_function(const char* name) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult status;
#if CUDART_VERSION >= 12050
  check_cuda(cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &status), name);
#else
  check_cuda(cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &status), name);
#endif
  if (status != cudaDriverEntryPointSuccess) throw std::runtime_error(std::string("CUDA: the driver has no ") + name);
  return reinterpret_cast<Function*>(function);
}

inline CUtensorMapDataType tensor_map_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    case DType::kFloat16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    case DType::kBFloat16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case DType::kFloat64:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT64;
  }
  fail_value("tensor map: no dtype code ", static_cast<int>(dtype));
}

inline CUtensorMapSwizzle tensor_map_swizzle(ptx::Swizzle swizzle) {
  switch (swizzle) {
    case ptx::Swizzle::k128:
      return CU_TENSOR_MAP_SWIZZLE_128B;
    case ptx::Swizzle::k64:
      return CU_TENSOR_MAP_SWIZZLE_64B;
    case ptx::Swizzle::k32:
      return CU_TENSOR_MAP_SWIZZLE_32B;
    default:
      return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

// How a row that is narrower than its swizzle lies in shared memory is written nowhere, though the driver takes it.
inline void check_row(uint32_t elements, DType dtype, ptx::Swizzle swizzle) {
  constexpr uint32_t kSpans[4] = {0, 128, 64, 32};
  const uint32_t span = kSpans[static_cast<uint32_t>(swizzle)];
  const uint32_t bytes = elements * (dtype == DType::kFloat64 ? 8 : dtype == DType::kFloat32 ? 4 : 2);
  if (span && bytes != span) fail_value("tensor map: the inner box has ", bytes, " bytes, not the swizzle's ", span);
}

inline void check_encoded(CUresult result) {
  if (result != CUDA_SUCCESS)
    throw std::runtime_error("CUDA: the driver refuses a tensor map (" + std::to_string(result) + ")");
}

inline ptx::TensorMap make_tensor_map(const TiledMap& m) {
  static const auto encode = driver_function<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  check_row(m.box[0], m.dtype, m.swizzle);
  constexpr uint32_t kSteps[5] = {1, 1, 1, 1, 1};  // every element: others are for im2col maps, as CUTLASS makes them
  ptx::TensorMap map;
  check_encoded(encode(&map, tensor_map_type(m.dtype), m.rank, const_cast<void*>(m.base), m.sizes.data(),
                       m.strides.data(), m.box.data(), kSteps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                       tensor_map_swizzle(m.swizzle), CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                       CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  return map;
}

inline ptx::TensorMap make_tensor_map(const Im2colMap& m) {
  static const auto encode = driver_function<decltype(cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  check_row(m.channels, m.dtype, m.swizzle);
  const uint32_t steps[4] = {1, m.stride, m.stride, 1};
  ptx::TensorMap map;
  check_encoded(encode(&map, tensor_map_type(m.dtype), 4, const_cast<void*>(m.base), m.sizes.data(), m.strides.data(),
                       m.lower.data(), m.upper.data(), m.channels, m.pixels, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                       tensor_map_swizzle(m.swizzle), CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                       CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  return map;
}

}  // namespace hgfast::cuda

#endif
