// What hgfast._cuda says of itself and of the machine's driver.
#include <cuda_runtime_api.h>

#include "bindings/bindings.h"
#include "cuda/errors.cuh"
#include "cuda/switches.h"
#include "cuda/wait_fault.cuh"

namespace hgfast::cuda {

void bind_bottleneck(py::module_& m);  // bottleneck_bindings.cpp
void bind_candidates(py::module_& m);  // candidates_bindings.cpp

void bind_backend_info(py::module_& m) {
  bind_bottleneck(m);
  bind_candidates(m);
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
  m.def("switch_family", [](const std::string& family, bool on) {
    Switches& all = switches();
    const std::pair<const char*, bool*> families[] = {
        {"wgmma", &all.wgmma}, {"bottleneck", &all.bottleneck}, {"small", &all.small}, {"split", &all.split}};
    for (const auto& [name, is_on] : families)
      if (family == name) *is_on = on;
  });
  // Of the graph that is being captured on a stream; 0 where none is.
  m.def("capture_id", [](Exec stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    unsigned long long id = 0;
    check_cuda(cudaStreamGetCaptureInfo(reinterpret_cast<cudaStream_t>(stream), &status, &id), "capture of a stream");
    return status == cudaStreamCaptureStatusNone ? 0 : id;
  });
  m.def("wait_fault", [] { return wait_fault_text(); });
}

}  // namespace hgfast::cuda
