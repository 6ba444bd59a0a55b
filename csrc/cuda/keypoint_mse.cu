#include "cuda/keypoint_mse.cuh"

namespace hgfast::cuda {

void keypoint_mse(const KeypointMse& p, Exec stream) {
  dispatch(p.dtype, "keypoint_mse", [&](auto tag) { launch_keypoint_mse<typename decltype(tag)::type>(p, stream); });
}

}  // namespace hgfast::cuda
