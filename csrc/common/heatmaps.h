// What every kernel that reads heatmaps knows of them: sizes, memory order, and the mirrored set of a flip test.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace hgfast {

constexpr int kMaxFlipChannels = 512;

// n images of k maps of (h, w) values. NHWC (channels_last): the k values of a pixel are neighbours in memory.
struct HeatmapShape {
  DType dtype;
  Layout layout;
  int64_t n, k, h, w;

  int64_t maps() const { return n * k; }
  int64_t channel_stride() const { return layout == Layout::kNHWC ? 1 : h * w; }
  int64_t column_stride() const { return layout == Layout::kNHWC ? k : 1; }
};

// A flip test: `maps` are those of the mirrored images, as the network returns them. Column x of a map is averaged with
// column w - 1 - x of its partner; with `shift` with column w - x (x > 0), one pixel further right in the mirror image.
struct FlippedMaps {
  const void* maps;                   // null: no flip test
  int shift;                          // 0 or 1
  int16_t partner[kMaxFlipChannels];  // channel of the mirrored maps that shows the same joint

  // partner's column for column x
  static constexpr int64_t column(int64_t x, int64_t w, int shift) { return x == 0 ? w - 1 : w - 1 - x + shift; }
};

}  // namespace hgfast
