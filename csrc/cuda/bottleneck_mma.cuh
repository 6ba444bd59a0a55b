// The whole-bottleneck kernel (cuda/bottleneck_kernel.cuh) on mma.sync.
#pragma once

#include "cuda/bottleneck_kernel.cuh"
#include "cuda/mma.cuh"

namespace hgfast::cuda {

struct MmaProducts {
  // acc += A B^T over 128 bytes of K, as multiply_rows of cuda/mma.cuh.
  template <class T, int kI, int kJ, class RowOf>
  static HG_DEV void multiply(float (&acc)[kI][kJ][4], uint32_t tile_a, const RowOf& row_of, uint32_t tile_b, int row_b,
                              int lane) {
    multiply_rows<T>(acc, tile_a, row_of, tile_b, row_b, lane);
  }
};

}  // namespace hgfast::cuda
