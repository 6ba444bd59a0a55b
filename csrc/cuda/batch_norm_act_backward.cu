#include "cuda/batch_norm_act_backward.cuh"

namespace hgfast::cuda {

void batch_norm_backward_reduce(const BatchNormBackwardReduce& p, Exec stream) {
  dispatch_batch_norm(p.gradient.shape, "batch_norm_backward_reduce", [&](auto tag, auto is_nhwc) {
    launch_batch_norm_backward_reduce<typename decltype(tag)::type, decltype(is_nhwc)::value>(p, stream);
  });
}

void batch_norm_backward_apply(const BatchNormBackwardApply& p, Exec stream) {
  dispatch_batch_norm(p.gradient.shape, "batch_norm_backward_apply", [&](auto tag, auto is_nhwc) {
    launch_batch_norm_backward_apply<typename decltype(tag)::type, decltype(is_nhwc)::value>(p, stream);
  });
}

}  // namespace hgfast::cuda
