// Bindings of the list of candidates, which only CUDA has.
#include "bindings/bindings.h"
#include "cuda/candidates.h"

namespace hgfast::cuda {
namespace {

py::list as_list(const std::vector<Candidate>& candidates) {
  py::list list;
  for (const Candidate& c : candidates)
    list.append(py::make_tuple(c.algorithm, c.kernel, c.splits, c.cycles, c.workspace_bytes, c.shared_bytes,
                               c.registers, c.threads, c.resident_blocks));
  return list;
}

}  // namespace

void bind_candidates(py::module_& m) {
  py::class_<Device>(m, "Device", py::module_local())
      .def(py::init([](int major, int minor, int multiprocessors, int shared_bytes, int shared_bytes_all, int registers,
                       int threads) {
        return Device{major, minor, multiprocessors, shared_bytes, shared_bytes_all, registers, threads};
      }))
      .def_readonly("major", &Device::major)
      .def_readonly("minor", &Device::minor)
      .def_readonly("multiprocessors", &Device::multiprocessors)
      .def_readonly("shared_bytes", &Device::shared_bytes)
      .def_readonly("shared_bytes_all", &Device::shared_bytes_all)
      .def_readonly("registers", &Device::registers)
      .def_readonly("threads", &Device::threads);
  m.def("current_device", &the_device);
  m.def("conv_candidates",
        [](const ConvShape& shape, const Device& device) { return as_list(conv_candidates(shape, device)); });
  m.def("bottleneck_candidates", [](int64_t n, int64_t h, int64_t w, int64_t c, int64_t mid, int64_t out_h,
                                    int64_t out_w, int dtype, const Device& device) {
    const BottleneckShape shape{n, h, w, c, mid, out_h, out_w, DType(dtype), 0};
    return py::make_tuple(as_list(bottleneck_candidates(shape, device)), three_convolutions_cycles(shape, device));
  });
}

}  // namespace hgfast::cuda
