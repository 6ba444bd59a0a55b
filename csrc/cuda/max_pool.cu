#include "cuda/max_pool.cuh"

namespace hgfast::cuda {

void max_pool(const MaxPool& p, Exec stream) {
  dispatch<true>(p.dtype, "max_pool", [&](auto tag) { launch_max_pool<typename decltype(tag)::type>(p, stream); });
}

void max_pool_backward(const MaxPoolBackward& p, Exec stream) {
  dispatch<true>(p.dtype, "max_pool_backward",
                 [&](auto tag) { launch_max_pool_backward<typename decltype(tag)::type>(p, stream); });
}

}  // namespace hgfast::cuda
