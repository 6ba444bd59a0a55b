// Bindings of batch_norm_act's four kernels.
#include "bindings/bindings.h"
#include "cuda/batch_norm_chunks.h"

namespace hgfast::HGFAST_BACKEND {
namespace {

BatchNormShape make_shape(int dtype, int layout, int64_t n, int64_t hw, int64_t c) {
  return {DType(dtype), Layout(layout), n, hw, c};
}

// The first nine arguments of both backward kernels.
struct GradientAddresses {
  Address grad, grad2, x, residual, mask, mean, var, weight, bias;

  BatchNormGradient with(const BatchNormShape& shape, double eps, int gate) const {
    return {as_pointer(grad),
            as_pointer(grad2),
            as_pointer(x),
            as_pointer(residual),
            as_pointer(mask),
            as_pointer(mean),
            as_pointer(var),
            as_pointer(weight),
            as_pointer(bias),
            shape,
            eps,
            ReluGate(gate)};
  }
};

}  // namespace

void bind_norm(py::module_& m) {
  m.def("batch_norm_sizes", [](int dtype, int layout, int64_t n, int64_t hw, int64_t c) {
    const BatchNormShape shape = make_shape(dtype, layout, n, hw, c);
    const BatchNormNeeds needs = batch_norm_needs(shape);
    return std::make_tuple(needs.workspace, shape.mask_bytes(), needs.tickets);
  });
  m.def("batch_norm_stats", [](Address x, Address running_mean, Address running_var, Address batches, Address mean,
                               Address var, Address workspace, Address tickets, int dtype, int layout, int64_t n,
                               int64_t hw, int64_t c, double momentum, bool cumulative, Exec exec) {
    const BatchNormRunning running{as_pointer(running_mean), as_pointer(running_var), as_pointer<int64_t>(batches),
                                   momentum, cumulative};
    batch_norm_stats({as_pointer(x), as_pointer(mean), as_pointer(var), as_pointer(workspace),
                      make_shape(dtype, layout, n, hw, c), running, as_pointer<uint32_t>(tickets)},
                     exec);
  });
  m.def("batch_norm_apply",
        [](Address x, Address residual, Address mean, Address var, Address weight, Address bias, Address out,
           Address mask, int dtype, int layout, int64_t n, int64_t hw, int64_t c, double eps, bool relu, Exec exec) {
          batch_norm_apply(
              {as_pointer(x), as_pointer(residual), as_pointer(mean), as_pointer(var), as_pointer(weight),
               as_pointer(bias), as_pointer(out), as_pointer(mask), make_shape(dtype, layout, n, hw, c), eps, relu},
              exec);
        });
  m.def("batch_norm_backward_reduce",
        [](Address grad, Address grad2, Address x, Address residual, Address mask, Address mean, Address var,
           Address weight, Address bias, Address masked, Address weight_grad, Address bias_grad, Address workspace,
           Address tickets, int dtype, int layout, int64_t n, int64_t hw, int64_t c, double eps, int gate, Exec exec) {
          const GradientAddresses gradient{grad, grad2, x, residual, mask, mean, var, weight, bias};
          batch_norm_backward_reduce(
              {gradient.with(make_shape(dtype, layout, n, hw, c), eps, gate), as_pointer(masked),
               as_pointer(weight_grad), as_pointer(bias_grad), as_pointer(workspace), as_pointer<uint32_t>(tickets)},
              exec);
        });
  m.def("batch_norm_backward_apply", [](Address grad, Address grad2, Address x, Address residual, Address mask,
                                        Address mean, Address var, Address weight, Address bias, Address weight_grad,
                                        Address bias_grad, Address addend, Address x_grad, double count,
                                        bool batch_statistics, int dtype, int layout, int64_t n, int64_t hw, int64_t c,
                                        double eps, int gate, Exec exec) {
    const GradientAddresses gradient{grad, grad2, x, residual, mask, mean, var, weight, bias};
    batch_norm_backward_apply({gradient.with(make_shape(dtype, layout, n, hw, c), eps, gate), as_pointer(weight_grad),
                               as_pointer(bias_grad), as_pointer(addend), as_pointer(x_grad), count, batch_statistics},
                              exec);
  });
}

}  // namespace hgfast::HGFAST_BACKEND
