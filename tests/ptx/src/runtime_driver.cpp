// The driver's cuTensorMapEncode functions, with the checks that cuda.h documents.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>

#include "runtime.h"
#include "tensor_map.h"

namespace hgfast::ptx {

namespace {

constexpr cuuint64_t kMostElements = uint64_t{1} << 32, kMostStride = uint64_t{1} << 40;

uint8_t element_bytes(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ:
      return 4;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return 8;
    default:
      return 0;
  }
}

int swizzle_code(CUtensorMapSwizzle swizzle) {
  switch (swizzle) {
    case CU_TENSOR_MAP_SWIZZLE_NONE:
      return 0;
    case CU_TENSOR_MAP_SWIZZLE_32B:
      return 1;
    case CU_TENSOR_MAP_SWIZZLE_64B:
      return 2;
    case CU_TENSOR_MAP_SWIZZLE_128B:
      return 3;
    default:
      return -1;
  }
}

CUresult refuse(const char* why) {
  std::fprintf(stderr, "PTX interpreter: cuTensorMapEncode refuses %s\n", why);
  return CUDA_ERROR_INVALID_VALUE;
}

struct Tensor {
  CUtensorMapDataType type;
  cuuint32_t rank;
  void* base;
  const cuuint64_t *sizes, *strides;
  const cuuint32_t* steps;
  CUtensorMapInterleave interleave;
  CUtensorMapSwizzle swizzle;
  CUtensorMapFloatOOBfill fill;
};

CUresult set_layout(TensorMap& map, const Tensor& t) {
  if (t.interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) return refuse("interleaved layouts: they are not modelled");
  if (t.fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) return refuse("NaN fill: it is not modelled");
  map.magic = kTensorMapMagic;
  map.element_bytes = element_bytes(t.type);
  if (!map.element_bytes) return refuse("the type");
  const int swizzle = swizzle_code(t.swizzle);
  if (swizzle < 0) return refuse("the swizzle");
  map.swizzle = static_cast<uint8_t>(swizzle), map.rank = static_cast<uint8_t>(t.rank);
  map.base = reinterpret_cast<uint64_t>(t.base);
  return CUDA_SUCCESS;
}

CUresult set_tensor(TensorMap& map, const Tensor& t) {
  if (t.rank < 1 || t.rank > 5) return refuse("the rank");
  if (reinterpret_cast<uintptr_t>(t.base) % 16) return refuse("a base that is not aligned to 16 bytes");
  if (const CUresult result = set_layout(map, t); result != CUDA_SUCCESS) return result;
  for (cuuint32_t k = 0; k < t.rank; ++k) {
    if (t.sizes[k] == 0 || t.sizes[k] > kMostElements) return refuse("a size");
    if (t.steps[k] < 1 || t.steps[k] > 8) return refuse("an element stride");
    map.sizes[k] = static_cast<uint32_t>(t.sizes[k]);
    map.steps[k] = static_cast<uint8_t>(t.steps[k]);
  }
  for (cuuint32_t k = 0; k + 1 < t.rank; ++k) {
    if (t.strides[k] % 16 || t.strides[k] >= kMostStride) return refuse("a stride");
    map.strides[k] = t.strides[k];
  }
  return CUDA_SUCCESS;
}

// A row of the box must fill the swizzle's span: shared memory has the full span then ("The Swizzle Modes" in the CUDA
// guide), and how a narrower row would lie is written nowhere.
CUresult finish(TensorMap& map, CUtensorMap* out) {
  const uint32_t row = map.row_elements() * map.element_bytes;
  if (row % 16) return refuse("a row that is no multiple of 16 bytes");
  if (map.span() && row != map.span()) return refuse("a row of another width than the swizzle's span");
  map.check = map.checksum();
  std::memset(out, 0, sizeof *out);
  std::memcpy(out, &map, sizeof map);
  return CUDA_SUCCESS;
}

CUresult encode_tiled(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* sizes,
                      const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* steps,
                      CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                      CUtensorMapFloatOOBfill fill) {
  TensorMap map{};
  const CUresult result = set_tensor(map, {type, rank, base, sizes, strides, steps, interleave, swizzle, fill});
  if (result != CUDA_SUCCESS) return result;
  for (cuuint32_t k = 0; k < rank; ++k) {
    if (box[k] < 1 || box[k] > 256) return refuse("a box");
    map.box[k] = static_cast<uint16_t>(box[k]);
  }
  return finish(map, out);
}

CUresult encode_im2col(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* sizes,
                       const cuuint64_t* strides, const int* lower, const int* upper, cuuint32_t channels,
                       cuuint32_t pixels, const cuuint32_t* steps, CUtensorMapInterleave interleave,
                       CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  TensorMap map{};
  if (rank < 3) return refuse("the rank of an im2col map");
  const CUresult result = set_tensor(map, {type, rank, base, sizes, strides, steps, interleave, swizzle, fill});
  if (result != CUDA_SUCCESS) return result;
  const int limit = rank == 5 ? 16 : 128;  // of rank 3 the driver takes more, but nobody here does
  for (cuuint32_t k = 0; k + 2 < rank; ++k) {
    if (lower[k] < -limit || lower[k] >= limit || upper[k] < -limit || upper[k] >= limit) return refuse("a corner");
    map.lower[k] = static_cast<int8_t>(lower[k]), map.upper[k] = static_cast<int8_t>(upper[k]);
  }
  if (channels < 1 || channels > 256 || pixels < 1 || pixels > 1024) return refuse("channels or pixels");
  map.im2col = 1, map.channels = static_cast<uint16_t>(channels), map.pixels = static_cast<uint16_t>(pixels);
  return finish(map, out);
}

}  // namespace

}  // namespace hgfast::ptx

using namespace hgfast::ptx;

extern "C" cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                                        cudaDriverEntryPointQueryResult* status) {
  *function = nullptr;
  if (!std::strcmp(name, "cuTensorMapEncodeTiled")) *function = reinterpret_cast<void*>(encode_tiled);
  if (!std::strcmp(name, "cuTensorMapEncodeIm2col")) *function = reinterpret_cast<void*>(encode_im2col);
  if (status) *status = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return *function ? cudaSuccess : set_error(cudaErrorSymbolNotFound, std::string("no driver function ") + name);
}
