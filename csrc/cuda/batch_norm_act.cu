#include "cuda/batch_norm_act.cuh"

namespace hgfast::cuda {

void batch_norm_stats(const BatchNormStats& p, Exec stream) {
  dispatch_batch_norm(p.shape, "batch_norm_stats", [&](auto tag, auto is_nhwc) {
    launch_batch_norm_stats<typename decltype(tag)::type, decltype(is_nhwc)::value>(p, stream);
  });
}

void batch_norm_apply(const BatchNormApply& p, Exec stream) {
  dispatch_batch_norm(p.shape, "batch_norm_apply", [&](auto tag, auto is_nhwc) {
    launch_batch_norm_apply<typename decltype(tag)::type, decltype(is_nhwc)::value>(p, stream);
  });
}

}  // namespace hgfast::cuda
