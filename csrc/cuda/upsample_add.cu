#include "cuda/upsample_add.cuh"

namespace hgfast::cuda {

void upsample_add(const UpsampleAdd& p, Exec stream) {
  dispatch(p.dtype, "upsample_add", [&](auto tag) { launch_upsample_add<typename decltype(tag)::type>(p, stream); });
}

void upsample_add_backward(const UpsampleAddBackward& p, Exec stream) {
  dispatch(p.dtype, "upsample_add_backward",
           [&](auto tag) { launch_upsample_add_backward<typename decltype(tag)::type>(p, stream); });
}

}  // namespace hgfast::cuda
