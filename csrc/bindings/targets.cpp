// Bindings of the targets and of the loss over them.
#include "bindings/bindings.h"

namespace hgfast::HGFAST_BACKEND {

void bind_targets(py::module_& m) {
  m.def("gaussian_heatmaps", [](Address keypoints, Address visible, Address heatmaps, Address weights, int dtype,
                                int kind, double sigma, int64_t n, int64_t k, int64_t h, int64_t w, Exec exec) {
    gaussian_heatmaps({as_pointer<float>(keypoints), as_pointer<float>(visible), as_pointer(heatmaps),
                       as_pointer<float>(weights), DType(dtype), GaussianKind(kind), sigma, n, k, h, w},
                      exec);
  });
  m.def("keypoint_mse", [](Address pred, Address target, Address weight, Address keypoints, Address visible,
                           Address grad, Address partial, Address axes, Address loss, int dtype, int layout, int kind,
                           double sigma, int64_t n, int64_t k, int64_t h, int64_t w, Exec exec) {
    keypoint_mse({as_pointer(pred), as_pointer(target), as_pointer(weight), as_pointer<float>(keypoints),
                  as_pointer<float>(visible), as_pointer(grad), as_pointer<double>(partial), as_pointer<float>(axes),
                  as_pointer(loss), DType(dtype), Layout(layout), GaussianKind(kind), sigma, n, k, h, w},
                 exec);
  });
}

}  // namespace hgfast::HGFAST_BACKEND
