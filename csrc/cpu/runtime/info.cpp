// What hgfast._cpu says of itself.
#include "bindings/bindings.h"
#include "cpu/runtime/isa.h"
#include "cpu/runtime/openmp.h"

namespace hgfast::cpu {

void bind_codes(py::module_& m);       // conv_int8.cpp
void bind_conv_train(py::module_& m);  // conv_train.cpp
void bind_sequence(py::module_& m);    // sequence.cpp

void bind_backend_info(py::module_& m) {
  bind_codes(m);
  bind_conv_train(m);
  bind_sequence(m);
  m.def("backend_info", [] {
    py::dict info;
    info["isa"] = isa_name(current_isa());
#ifdef HGFAST_X86_VARIANTS
    info["compiled_isas"] = py::make_tuple("baseline", "avx2", "avx512", "avx512_bf16", "amx_bf16");
#else
    info["compiled_isas"] = py::make_tuple("baseline");
#endif
    info["compiler"] = __VERSION__;
    info["openmp"] = loaded_openmp().path;
    return info;
  });
}

}  // namespace hgfast::cpu
