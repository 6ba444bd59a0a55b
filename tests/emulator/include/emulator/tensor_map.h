// Twin of the driver's cuTensorMapEncode functions: refuses what the driver would refuse, and boxes that leave the
// tensor's memory. Included by csrc/cuda/tensor_map.cuh.
#pragma once

namespace hgfast::emu {

// Throws std::runtime_error with the field that is wrong.
void check_tensor_map(const TensorMap& map);

inline int swizzle_bytes(cuda::ptx::Swizzle swizzle) {
  switch (swizzle) {
    case cuda::ptx::Swizzle::k128:
      return 128;
    case cuda::ptx::Swizzle::k64:
      return 64;
    case cuda::ptx::Swizzle::k32:
      return 32;
    default:
      return 0;
  }
}

inline int element_bytes(DType dtype) { return dtype == DType::kFloat64 ? 8 : dtype == DType::kFloat32 ? 4 : 2; }

}  // namespace hgfast::emu

namespace hgfast::cuda {

inline ptx::TensorMap make_tensor_map(const TiledMap& m) {
  ptx::TensorMap map;
  map.base = static_cast<const unsigned char*>(m.base);
  map.rank = m.rank;
  map.element_bytes = emu::element_bytes(m.dtype);
  map.swizzle_bytes = emu::swizzle_bytes(m.swizzle);
  map.sizes = m.sizes;
  map.strides[0] = map.element_bytes;
  for (int i = 1; i < 5; ++i) map.strides[i] = m.strides[i - 1];
  map.box = m.box;
  map.steps = {1, 1, 1, 1, 1};
  emu::check_tensor_map(map);
  return map;
}

inline ptx::TensorMap make_tensor_map(const Im2colMap& m) {
  ptx::TensorMap map;
  map.base = static_cast<const unsigned char*>(m.base);
  map.rank = 4;
  map.element_bytes = emu::element_bytes(m.dtype);
  map.swizzle_bytes = emu::swizzle_bytes(m.swizzle);
  map.im2col = true;
  for (int i = 0; i < 4; ++i) map.sizes[i] = m.sizes[i];
  map.strides[0] = map.element_bytes;
  for (int i = 1; i < 4; ++i) map.strides[i] = m.strides[i - 1];
  map.box = {m.channels, m.pixels};
  map.steps = {1, m.stride, m.stride, 1};
  map.lower = m.lower;
  map.upper = m.upper;
  emu::check_tensor_map(map);
  return map;
}

}  // namespace hgfast::cuda
