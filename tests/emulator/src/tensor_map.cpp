// What cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col ask of their arguments (cuda.h).
#include <cstdint>

#include "emulator/ptx_tma.h"
#include "global_memory.h"

namespace hgfast::emu {

// Declared in emulator/tensor_map.h, which needs the kernels' headers.
void check_tensor_map(const TensorMap& map);

namespace {

constexpr uint64_t kMaxSize = uint64_t{1} << 32, kMaxStride = uint64_t{1} << 40;

void check_memory(const TensorMap& m) {
  if (m.rank < (m.im2col ? 3 : 1) || m.rank > 5) fail("tensor map of rank %d", m.rank);
  if (reinterpret_cast<uintptr_t>(m.base) % 16) fail("tensor map: base %p is not 16-byte aligned", m.base);
  uint64_t last = 0;
  for (int i = 0; i < m.rank; ++i) {
    if (!m.sizes[i] || m.sizes[i] > kMaxSize) fail("tensor map: size %lu of dimension %d", m.sizes[i], i);
    if (i && (m.strides[i] % 16 || m.strides[i] >= kMaxStride))
      fail("tensor map: stride %lu of dimension %d is not a multiple of 16 bytes below 2^40", m.strides[i], i);
    last += (m.sizes[i] - 1) * m.strides[i];
  }
  check_global(m.base, last + m.element_bytes, false, "tensor map");
}

void check_box(const TensorMap& m) {
  const uint32_t limits[2] = {256, m.im2col ? 1024u : 256u};
  for (int i = 0; i < (m.im2col ? 2 : m.rank); ++i)
    if (!m.box[i] || m.box[i] > limits[i > 0]) fail("tensor map: box size %u of dimension %d", m.box[i], i);
  for (int i = 0; i < m.rank; ++i)
    if (!m.steps[i] || m.steps[i] > 8) fail("tensor map: step %u of dimension %d", m.steps[i], i);
  const uint32_t inner = m.box[0] * m.element_bytes;
  if (inner % 16) fail("tensor map: the inner box has %u bytes, not a multiple of 16", inner);
  if (m.swizzle_bytes && inner != static_cast<uint32_t>(m.swizzle_bytes))
    fail("tensor map: the inner box has %u bytes, not the swizzle's %d", inner, m.swizzle_bytes);
}

void check_corners(const TensorMap& m) {
  for (int i = 0; i < 2; ++i) {
    const int64_t extent = static_cast<int64_t>(m.sizes[i + 1]) + m.upper[i] - m.lower[i];
    if (m.lower[i] < -128 || m.lower[i] > 127 || m.upper[i] < -128 || m.upper[i] > 127 || extent <= 0)
      fail("tensor map: im2col corners %d and %d of dimension %d", m.lower[i], m.upper[i], i + 1);
  }
}

}  // namespace

void check_tensor_map(const TensorMap& map) {
  check_memory(map);
  check_box(map);
  if (map.im2col) check_corners(map);
}

}  // namespace hgfast::emu
