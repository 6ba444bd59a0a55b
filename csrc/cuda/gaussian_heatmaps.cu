#include "cuda/gaussian_heatmaps.cuh"

namespace hgfast::cuda {

void gaussian_heatmaps(const GaussianHeatmaps& p, Exec stream) {
  dispatch(p.dtype, "gaussian_heatmaps",
           [&](auto tag) { launch_gaussian_heatmaps<typename decltype(tag)::type>(p, stream); });
}

}  // namespace hgfast::cuda
