// Twins of csrc/cuda/ptx/matrix.cuh: ldmatrix, stmatrix, mma.sync.
#pragma once

#include "emulator/qualifiers.h"
#include "emulator/runtime.h"

namespace hgfast::emu {

// Loads or stores `count` 8x8 matrices of 16-bit elements.
struct MatrixArg {
  uint32_t row_address;
  uint32_t* registers;
  int count;
  bool transpose;
};
void load_matrix(void* const* args, uint32_t mask);
void store_matrix(void* const* args, uint32_t mask);

struct MmaArg {
  float* d;
  const uint32_t *a, *b;
};
enum class Element { kHalf, kBFloat16, kTf32 };
template <class T>
constexpr Element kElement = std::is_same_v<T, __half> ? Element::kHalf : Element::kBFloat16;
template <Element kType>
void multiply(void* const* args, uint32_t mask);

inline void aligned(CollectiveBody body, void* arg, const char* what, Site site) {
  warp_collective(body, ~0u, arg, Convergence::kSameLine, what, site);
}

}  // namespace hgfast::emu

namespace hgfast::cuda::ptx {

inline void ldmatrix_x4(uint32_t (&r)[4], uint32_t row_address, emu::Site site = emu::Site::here()) {
  emu::MatrixArg arg{row_address, r, 4, false};
  emu::aligned(&emu::load_matrix, &arg, "ldmatrix.x4", site);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t row_address, emu::Site site = emu::Site::here()) {
  emu::MatrixArg arg{row_address, r, 4, true};
  emu::aligned(&emu::load_matrix, &arg, "ldmatrix.x4.trans", site);
}
inline void ldmatrix_x2(uint32_t (&r)[2], uint32_t row_address, emu::Site site = emu::Site::here()) {
  emu::MatrixArg arg{row_address, r, 2, false};
  emu::aligned(&emu::load_matrix, &arg, "ldmatrix.x2", site);
}
inline void ldmatrix_x2_trans(uint32_t (&r)[2], uint32_t row_address, emu::Site site = emu::Site::here()) {
  emu::MatrixArg arg{row_address, r, 2, true};
  emu::aligned(&emu::load_matrix, &arg, "ldmatrix.x2.trans", site);
}
inline void stmatrix_x4(uint32_t row_address, const uint32_t (&r)[4], emu::Site site = emu::Site::here()) {
  emu::MatrixArg arg{row_address, const_cast<uint32_t*>(r), 4, false};
  emu::aligned(&emu::store_matrix, &arg, "stmatrix.x4", site);
}
inline void stmatrix_x2(uint32_t row_address, const uint32_t (&r)[2], emu::Site site = emu::Site::here()) {
  emu::MatrixArg arg{row_address, const_cast<uint32_t*>(r), 2, false};
  emu::aligned(&emu::store_matrix, &arg, "stmatrix.x2", site);
}

template <class T>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], emu::Site site = emu::Site::here()) {
  emu::MmaArg arg{d, a, b};
  emu::aligned(&emu::multiply<emu::kElement<T>>, &arg, "mma.m16n8k16", site);
}
inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                             emu::Site site = emu::Site::here()) {
  emu::MmaArg arg{d, a, b};
  emu::aligned(&emu::multiply<emu::Element::kTf32>, &arg, "mma.m16n8k8.tf32", site);
}
inline uint32_t to_tf32(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  return finite ? (bits + 0x1000u) & ~0x1fffu : bits & ~0x1fffu;  // half of the last kept bit: ties away from zero
}

}  // namespace hgfast::cuda::ptx
