// The module itself: hgfast._cpu or hgfast._cuda (and the emulator's module, which is _cuda run on the CPU).
#include "bindings/bindings.h"

PYBIND11_MODULE(HGFAST_MODULE, m) {
  using namespace hgfast::HGFAST_BACKEND;
  m.doc() = "Kernels of hgfast; call them through hgfast.ops.";
  bind_backend_info(m);
  bind_conv(m);
  bind_merge(m);
  bind_targets(m);
  bind_norm(m);
  bind_decode(m);
}
