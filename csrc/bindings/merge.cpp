// Bindings of the upsample-add merge.
#include "bindings/bindings.h"

namespace hgfast::HGFAST_BACKEND {

void bind_merge(py::module_& m) {
  m.def("upsample_add", [](Address skip, Address low, Address out, int dtype, int layout, int64_t n, int64_t h,
                           int64_t w, int64_t c, Exec exec) {
    upsample_add({as_pointer(skip), as_pointer(low), as_pointer(out), DType(dtype), Layout(layout), n, h, w, c}, exec);
  });
  m.def("upsample_add_backward", [](Address grad, Address grad_low, int dtype, int layout, int64_t n, int64_t h,
                                    int64_t w, int64_t c, Exec exec) {
    upsample_add_backward({as_pointer(grad), as_pointer(grad_low), DType(dtype), Layout(layout), n, h, w, c}, exec);
  });
}

}  // namespace hgfast::HGFAST_BACKEND
