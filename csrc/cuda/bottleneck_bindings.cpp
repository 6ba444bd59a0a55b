// Bindings of the whole pre-activation bottleneck, which only CUDA has.
#include "bindings/bindings.h"

namespace hgfast::cuda {

void bind_bottleneck(py::module_& m) {
  m.def("bottleneck_query", [](int64_t n, int64_t h, int64_t w, int64_t c, int64_t mid, int64_t out_h, int64_t out_w,
                               int dtype, int64_t algorithm, Exec exec) {
    BottleneckQuery::Answer answer;
    bottleneck_query({{n, h, w, c, mid, out_h, out_w, DType(dtype), algorithm}, &answer}, exec);
    const int64_t (&convs)[3] = answer.conv_algorithms;
    return py::make_tuple(answer.algorithm, answer.pays, convs[0], convs[1], convs[2], answer.workspace_bytes,
                          answer.kernel);
  });
  m.def("bottleneck",
        [](int64_t n, int64_t h, int64_t w, int64_t c, int64_t mid, int64_t out_h, int64_t out_w, int dtype,
           int64_t algorithm, Address x, Address scale1, Address shift1, Address weight1, Address bias1,
           Address weight2, Address bias2, Address weight3, Address bias3, Address upsample_to, Address y,
           Address scale2, Address shift2, Address y2, Address workspace, int64_t workspace_bytes, Exec exec) {
          bottleneck({{n, h, w, c, mid, out_h, out_w, DType(dtype), algorithm},
                      as_pointer(x),
                      as_pointer<float>(scale1),
                      as_pointer<float>(shift1),
                      as_pointer(weight1),
                      as_pointer<float>(bias1),
                      as_pointer(weight2),
                      as_pointer<float>(bias2),
                      as_pointer(weight3),
                      as_pointer<float>(bias3),
                      as_pointer(upsample_to),
                      as_pointer(y),
                      as_pointer<float>(scale2),
                      as_pointer<float>(shift2),
                      as_pointer(y2),
                      as_pointer(workspace),
                      workspace_bytes},
                     exec);
        });
}

}  // namespace hgfast::cuda
