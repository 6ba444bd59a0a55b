// The flip test's average as a tensor: out = (heatmaps + mirrored partner) / 2.
#pragma once

#include "common/heatmaps.h"

namespace hgfast {

// out has the shape, type and memory order of the maps; the sum is taken in float32 (float64) and rounded once.
struct FlipMerge {
  HeatmapShape shape;
  const void* heatmaps;
  FlippedMaps flipped;
  void* out;
};

}  // namespace hgfast
