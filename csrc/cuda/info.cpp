// What hgfast._cuda says of itself and of the machine's driver.
#include <cuda_runtime_api.h>

#include "bindings/bindings.h"

namespace hgfast::cuda {

void bind_bottleneck(py::module_& m);  // bottleneck_bindings.cpp

void bind_backend_info(py::module_& m) {
  bind_bottleneck(m);
  m.def("backend_info", [] {
    py::dict info;
    info["archs"] = HGFAST_CUDA_ARCHS;
    info["nvcc"] = HGFAST_NVCC_VERSION;
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    info["devices"] = error == cudaSuccess ? devices : 0;
    info["driver"] = error == cudaSuccess ? "ok" : cudaGetErrorString(error);
    return info;
  });
}

}  // namespace hgfast::cuda
