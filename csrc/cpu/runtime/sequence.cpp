// A sequence of kernel calls on numbered tensors, made once and run by one call from Python: the forward pass of a
// residual block, or its gradient (hgfast/nn/_recording.py). What a call reads and writes is given as places, a
// tensor's number and a distance in bytes, so that many values share one workspace. float32, activations NHWC.
#include <pybind11/stl.h>

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/bindings.h"

namespace hgfast::cpu {
namespace {

using Addresses = std::vector<Address>;
using Place = std::optional<std::pair<size_t, Address>>;  // number of the tensor, bytes from its beginning; or nothing

class Sequence {
 public:
  explicit Sequence(size_t tensors) : tensors_(tensors) {}

  // call(at, exec) with at(place) -> address.
  template <class F>
  void add(std::initializer_list<Place> places, const F& call) {
    for (const Place& place : places)
      HGFAST_CHECK(!place || place->first < tensors_, "Sequence: there are ", tensors_, " tensors, got number ",
                   place->first);
    calls_.push_back([call](const Addresses& addresses, Exec exec) {
      call([&](const Place& place) { return place ? addresses[place->first] + place->second : 0; }, exec);
    });
  }

  void run(const Addresses& addresses, Exec exec) const {
    HGFAST_CHECK(addresses.size() == tensors_, "Sequence: expected ", tensors_, " addresses, got ", addresses.size());
    for (const auto& call : calls_) call(addresses, exec);
  }

 private:
  size_t tensors_;
  std::vector<std::function<void(const Addresses&, Exec)>> calls_;
};

BatchNormShape norm_shape(int64_t rows, int64_t c) { return {DType::kFloat32, Layout::kNHWC, 1, rows, c}; }

void add_conv_train(Sequence& sequence, const ConvShape& shape, bool transposed, bool weight_channels_last, Place x,
                    Place weight, Place bias, Place addend, Place y) {
  sequence.add({x, weight, bias, addend, y}, [=](auto at, Exec exec) {
    conv_train({shape, as_pointer(at(x)), as_pointer<float>(at(weight)), as_pointer<float>(at(bias)),
                as_pointer(at(addend)), as_pointer(at(y)), transposed, weight_channels_last},
               exec);
  });
}

void add_conv_strided_grad(Sequence& sequence, const ConvShape& shape, bool weight_channels_last, Place grad,
                           Place weight, Place addend, Place x_grad) {
  sequence.add({grad, weight, addend, x_grad}, [=](auto at, Exec exec) {
    conv_strided_grad({shape, as_pointer<float>(at(grad)), as_pointer<float>(at(weight)), as_pointer<float>(at(addend)),
                       as_pointer<float>(at(x_grad)), weight_channels_last},
                      exec);
  });
}

void add_conv_weight_grad(Sequence& sequence, const ConvShape& shape, bool weight_channels_last, Place x, Place grad,
                          Place weight_grad) {
  sequence.add({x, grad, weight_grad}, [=](auto at, Exec exec) {
    conv_weight_grad({shape, as_pointer<float>(at(x)), as_pointer<float>(at(grad)), as_pointer<float>(at(weight_grad)),
                      weight_channels_last},
                     exec);
  });
}

void add_stats(Sequence& sequence, int64_t rows, int64_t c, Place x, Place mean, Place var, Place workspace) {
  sequence.add({x, mean, var, workspace}, [=, shape = norm_shape(rows, c)](auto at, Exec exec) {
    batch_norm_stats({as_pointer(at(x)), as_pointer(at(mean)), as_pointer(at(var)), as_pointer(at(workspace)), shape},
                     exec);
  });
}

void add_apply(Sequence& sequence, int64_t rows, int64_t c, double eps, bool relu, Place x, Place residual, Place mean,
               Place var, Place weight, Place bias, Place out) {
  const BatchNormShape shape = norm_shape(rows, c);
  sequence.add({x, residual, mean, var, weight, bias, out}, [=](auto at, Exec exec) {
    batch_norm_apply({as_pointer(at(x)), as_pointer(at(residual)), as_pointer(at(mean)), as_pointer(at(var)),
                      as_pointer(at(weight)), as_pointer(at(bias)), as_pointer(at(out)), nullptr, shape, eps, relu},
                     exec);
  });
}

void add_move_running(Sequence& sequence, int64_t c, double momentum, double count, Place mean, Place var,
                      Place running_mean, Place running_var) {
  sequence.add({mean, var, running_mean, running_var}, [=](auto at, Exec exec) {
    move_running({as_pointer<float>(at(mean)), as_pointer<float>(at(var)), as_pointer<float>(at(running_mean)),
                  as_pointer<float>(at(running_var)), c, momentum, count},
                 exec);
  });
}

// What both backward kernels of BatchNorm read.
struct GradientPlaces {
  Place grad, x, residual, mean, var, weight, bias;
  BatchNormShape shape;
  double eps;
  bool gated;

  template <class At>
  BatchNormGradient with(const At& at) const {
    const ReluGate gate = gated ? ReluGate::kRecompute : ReluGate::kNone;
    return {as_pointer(at(grad)),
            nullptr,
            as_pointer(at(x)),
            as_pointer(at(residual)),
            nullptr,
            as_pointer(at(mean)),
            as_pointer(at(var)),
            as_pointer(at(weight)),
            as_pointer(at(bias)),
            shape,
            eps,
            gate};
  }
};

void add_backward_reduce(Sequence& sequence, int64_t rows, int64_t c, double eps, bool gated, Place grad, Place x,
                         Place residual, Place mean, Place var, Place weight, Place bias, Place masked,
                         Place weight_grad, Place bias_grad, Place workspace) {
  const GradientPlaces gradient{grad, x, residual, mean, var, weight, bias, norm_shape(rows, c), eps, gated};
  sequence.add({grad, x, residual, mean, var, weight, bias, masked, weight_grad, bias_grad, workspace},
               [=](auto at, Exec exec) {
                 batch_norm_backward_reduce({gradient.with(at), as_pointer(at(masked)), as_pointer(at(weight_grad)),
                                             as_pointer(at(bias_grad)), as_pointer(at(workspace))},
                                            exec);
               });
}

void add_backward_apply(Sequence& sequence, int64_t rows, int64_t c, double eps, bool gated, double count,
                        bool batch_statistics, Place grad, Place x, Place residual, Place mean, Place var, Place weight,
                        Place bias, Place weight_grad, Place bias_grad, Place addend, Place x_grad) {
  const GradientPlaces gradient{grad, x, residual, mean, var, weight, bias, norm_shape(rows, c), eps, gated};
  sequence.add({grad, x, residual, mean, var, weight, bias, weight_grad, bias_grad, addend, x_grad},
               [=](auto at, Exec exec) {
                 batch_norm_backward_apply({gradient.with(at), as_pointer(at(weight_grad)), as_pointer(at(bias_grad)),
                                            as_pointer(at(addend)), as_pointer(at(x_grad)), count, batch_statistics},
                                           exec);
               });
}

void add_upsample_add(Sequence& sequence, int64_t n, int64_t h, int64_t w, int64_t c, Place skip, Place low,
                      Place out) {
  sequence.add({skip, low, out}, [=](auto at, Exec exec) {
    upsample_add(
        {as_pointer(at(skip)), as_pointer(at(low)), as_pointer(at(out)), DType::kFloat32, Layout::kNHWC, n, h, w, c},
        exec);
  });
}

void add_upsample_add_backward(Sequence& sequence, int64_t n, int64_t h, int64_t w, int64_t c, Place grad,
                               Place grad_low) {
  sequence.add({grad, grad_low}, [=](auto at, Exec exec) {
    upsample_add_backward({as_pointer(at(grad)), as_pointer(at(grad_low)), DType::kFloat32, Layout::kNHWC, n, h, w, c},
                          exec);
  });
}

void add_pointwise(Sequence& sequence, int64_t kind, int64_t count, Place a, Place b, Place out) {
  sequence.add({a, b, out}, [=](auto at, Exec exec) {
    pointwise(
        {PointwiseKind(kind), as_pointer<float>(at(a)), as_pointer<float>(at(b)), as_pointer<float>(at(out)), count},
        exec);
  });
}

void add_channel_sum(Sequence& sequence, int64_t rows, int64_t c, Place x, Place sum, Place workspace) {
  sequence.add({x, sum, workspace}, [=, shape = norm_shape(rows, c)](auto at, Exec exec) {
    channel_sum({as_pointer<float>(at(x)), as_pointer<float>(at(sum)), as_pointer<float>(at(workspace)), shape}, exec);
  });
}

}  // namespace

void bind_sequence(py::module_& m) {
  py::class_<Sequence>(m, "Sequence", py::module_local())
      .def(py::init<size_t>())
      .def("conv_train", &add_conv_train)
      .def("conv_strided_grad", &add_conv_strided_grad)
      .def("conv_weight_grad", &add_conv_weight_grad)
      .def("batch_norm_stats", &add_stats)
      .def("batch_norm_apply", &add_apply)
      .def("move_running", &add_move_running)
      .def("batch_norm_backward_reduce", &add_backward_reduce)
      .def("batch_norm_backward_apply", &add_backward_apply)
      .def("upsample_add", &add_upsample_add)
      .def("upsample_add_backward", &add_upsample_add_backward)
      .def("pointwise", &add_pointwise)
      .def("channel_sum", &add_channel_sum)
      .def("run", &Sequence::run, py::call_guard<py::gil_scoped_release>());
}

}  // namespace hgfast::cpu
