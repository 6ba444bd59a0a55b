// Bindings of the fused convolution and of pooling. A shape is an object of its own, made once.
#include "bindings/bindings.h"

namespace hgfast::HGFAST_BACKEND {
namespace {

ConvShape make_shape(int64_t n, int64_t h, int64_t w, int64_t c, int64_t k, int64_t kernel, int64_t stride,
                     int64_t out_h, int64_t out_w, int64_t extra_h, int64_t extra_w, int64_t extra_c,
                     int64_t extra_stride, int dtype, int64_t algorithm, int64_t exact) {
  HGFAST_CHECK(kernel > 0 && kernel % 2 && stride > 0, "conv: kernel must be odd and stride positive, got kernel ",
               kernel, ", stride ", stride);
  ConvShape s;
  s.n = n, s.h = h, s.w = w, s.c = c, s.k = k, s.kernel = kernel, s.stride = stride;
  s.p = (h + stride - 1) / stride, s.q = (w + stride - 1) / stride;
  s.out_h = out_h, s.out_w = out_w;
  s.extra_h = extra_h, s.extra_w = extra_w, s.extra_c = extra_c, s.extra_stride = extra_stride;
  s.dtype = DType(dtype), s.algorithm = algorithm, s.exact = exact;
  return s;
}

}  // namespace

void bind_conv(py::module_& m) {
  py::class_<ConvShape>(m, "ConvShape", py::module_local()).def(py::init(&make_shape));
  m.def("conv_query", [](const ConvShape& shape, Exec exec) {
    ConvQuery::Answer answer;
    conv_query({shape, &answer}, exec);
    return py::make_tuple(answer.algorithm, answer.packed_bytes, answer.workspace_bytes, answer.packing, answer.kernel);
  });
  m.def("conv_pack", [](const ConvShape& shape, Address weight, Address extra, Address packed, Exec exec) {
    conv_pack({shape, as_pointer<float>(weight), as_pointer<float>(extra), as_pointer(packed)}, exec);
  });
  m.def("conv", [](const ConvShape& shape, Address x, Address weight, Address bias, Address residual,
                   Address upsample_to, Address extra_x, Address y, Address scale2, Address shift2, Address y2,
                   int64_t relu, Address workspace, int64_t workspace_bytes, Exec exec) {
    conv({shape, as_pointer(x), as_pointer(weight), as_pointer<float>(bias), as_pointer(residual),
          as_pointer(upsample_to), as_pointer(extra_x), as_pointer(y), as_pointer<float>(scale2),
          as_pointer<float>(shift2), as_pointer(y2), relu, as_pointer(workspace), workspace_bytes},
         exec);
  });
  m.def("max_pool", [](Address x, Address y, Address scale2, Address shift2, Address y2, int dtype, int64_t n,
                       int64_t h, int64_t w, int64_t c, Exec exec) {
    max_pool({as_pointer(x), as_pointer(y), as_pointer<float>(scale2), as_pointer<float>(shift2), as_pointer(y2),
              DType(dtype), n, h, w, c},
             exec);
  });
  m.def("max_pool_backward", [](Address x, Address grad, Address addend, Address x_grad, int dtype, int64_t n,
                                int64_t h, int64_t w, int64_t c, Exec exec) {
    max_pool_backward(
        {as_pointer(x), as_pointer(grad), as_pointer(addend), as_pointer(x_grad), DType(dtype), n, h, w, c}, exec);
  });
}

}  // namespace hgfast::HGFAST_BACKEND
