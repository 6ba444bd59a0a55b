#include "cuda/soft_argmax.cuh"

namespace hgfast::cuda {

void soft_argmax(const SoftArgmax& p, Exec stream) {
  dispatch(p.shape.dtype, "soft_argmax",
           [&](auto tag) { launch_soft_argmax<typename decltype(tag)::type>(p, stream); });
}

void soft_argmax_backward(const SoftArgmaxBackward& p, Exec stream) {
  dispatch(p.shape.dtype, "soft_argmax_backward",
           [&](auto tag) { launch_soft_argmax_backward<typename decltype(tag)::type>(p, stream); });
}

}  // namespace hgfast::cuda
