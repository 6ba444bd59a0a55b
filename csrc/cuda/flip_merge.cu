#include "cuda/flip_merge.cuh"

namespace hgfast::cuda {

void flip_merge(const FlipMerge& p, Exec stream) {
  dispatch(p.shape.dtype, "flip_merge", [&](auto tag) { launch_flip_merge<typename decltype(tag)::type>(p, stream); });
}

}  // namespace hgfast::cuda
