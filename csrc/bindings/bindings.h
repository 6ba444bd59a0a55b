// Python bindings, written once and compiled for each backend (-DHGFAST_BACKEND=cpu or cuda): every binding takes
// tensor addresses, a dtype code, sizes, and last the Exec value (CUDA stream or thread count). No torch anywhere.
#pragma once

#include <pybind11/pybind11.h>

#include "common/ops.h"

namespace hgfast::HGFAST_BACKEND {

namespace py = pybind11;
using Address = std::uintptr_t;  // 0 = absent

template <class T = void>
inline T* as_pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

void bind_conv(py::module_& m);
void bind_merge(py::module_& m);
void bind_targets(py::module_& m);
void bind_norm(py::module_& m);
void bind_decode(py::module_& m);
void bind_backend_info(py::module_& m);  // csrc/cpu/runtime/info.cpp, csrc/cuda/info.cu

}  // namespace hgfast::HGFAST_BACKEND
