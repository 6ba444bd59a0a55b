// The Gaussian kernels of cv2.GaussianBlur(map, (size, size), 0), which MMPose blurs with.
#pragma once

#include <cmath>

#include "common/check.h"
#include "common/decode_heatmaps.h"

namespace hgfast {

// Sizes 3 to 9 are fixed tables in OpenCV, the larger ones a sampled Gaussian of sigma = 0.3 ((size - 1) / 2 - 1) +
// 0.8. size must be odd and at most 2 * kMaxBlurRadius + 1; 1 does not blur.
static inline BlurKernel opencv_gaussian_kernel(int size) {
  static constexpr float kSmall[5][5] = {{1},
                                         {2 / 4.f, 1 / 4.f},
                                         {6 / 16.f, 4 / 16.f, 1 / 16.f},
                                         {18 / 64.f, 14 / 64.f, 7 / 64.f, 2 / 64.f},
                                         {60 / 256.f, 51 / 256.f, 30 / 256.f, 13 / 256.f, 4 / 256.f}};
  HGFAST_CHECK(size > 0 && size % 2 == 1 && size <= 2 * kMaxBlurRadius + 1, "blur_kernel_size must be odd and at most ",
               2 * kMaxBlurRadius + 1, ", got ", size);
  BlurKernel kernel{size / 2, {}};
  if (kernel.radius <= 4) {
    for (int d = 0; d <= kernel.radius; ++d) kernel.weight[d] = kSmall[kernel.radius][d];
    return kernel;
  }
  const double sigma = 0.3 * (kernel.radius - 1) + 0.8;
  double tap[kMaxBlurRadius + 1], sum = 0;
  for (int d = 0; d <= kernel.radius; ++d) {
    tap[d] = std::exp(-0.5 * d * d / (sigma * sigma));
    sum += d == 0 ? tap[d] : 2 * tap[d];
  }
  for (int d = 0; d <= kernel.radius; ++d) kernel.weight[d] = static_cast<float>(tap[d] / sum);
  return kernel;
}

}  // namespace hgfast
