#include "cuda/decode_heatmaps.cuh"

namespace hgfast::cuda {

void decode_heatmaps(const DecodeHeatmaps& p, Exec stream) {
  dispatch(p.shape.dtype, "decode_heatmaps",
           [&](auto tag) { launch_decode_heatmaps<typename decltype(tag)::type>(p, stream); });
}

}  // namespace hgfast::cuda
