#include "cuda/heatmap_peaks.cuh"

namespace hgfast::cuda {

void heatmap_peaks(const HeatmapPeaks& p, Exec stream) {
  dispatch(p.shape.dtype, "heatmap_peaks",
           [&](auto tag) { launch_heatmap_peaks<typename decltype(tag)::type>(p, stream); });
}

}  // namespace hgfast::cuda
