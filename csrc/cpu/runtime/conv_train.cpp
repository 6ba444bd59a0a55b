// Bindings of the convolutions of the training step, which only the CPU has.
#include "bindings/bindings.h"

namespace hgfast::cpu {

void bind_conv_train(py::module_& m) {
  m.def("conv_train", [](const ConvShape& shape, Address x, Address weight, Address bias, Address addend, Address y,
                         int64_t transposed, int64_t weight_channels_last, Exec exec) {
    conv_train({shape, as_pointer(x), as_pointer<float>(weight), as_pointer<float>(bias), as_pointer(addend),
                as_pointer(y), transposed, weight_channels_last},
               exec);
  });
  m.def("conv_weight_grad", [](const ConvShape& shape, Address x, Address grad, Address weight_grad,
                               int64_t weight_channels_last, Exec exec) {
    conv_weight_grad(
        {shape, as_pointer<float>(x), as_pointer<float>(grad), as_pointer<float>(weight_grad), weight_channels_last},
        exec);
  });
  m.def("conv_strided_grad", [](const ConvShape& shape, Address grad, Address weight, Address addend, Address x_grad,
                                int64_t weight_channels_last, Exec exec) {
    conv_strided_grad({shape, as_pointer<float>(grad), as_pointer<float>(weight), as_pointer<float>(addend),
                       as_pointer<float>(x_grad), weight_channels_last},
                      exec);
  });
}

}  // namespace hgfast::cpu
