// Kernel launches.
#pragma once

#include <tuple>

#include "emulator/qualifiers.h"

namespace hgfast::emu {

struct LaunchShape {
  dim3 grid, block;
  size_t dynamic_shared;
};

// Calls entry(arguments) once per thread. `kernel` is the kernel's address, for messages.
void run_grid(const LaunchShape& shape, const void* kernel, void (*entry)(void*), void* arguments,
              size_t argument_bytes);

template <class... P, class... A>
void launch_grid(void (*kernel)(P...), dim3 grid, dim3 block, size_t dynamic_shared, A&&... args) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<std::remove_cv_t<P>...> args;
  } call{kernel, {static_cast<P>(static_cast<A&&>(args))...}};
  auto entry = [](void* data) {
    auto* call = static_cast<Call*>(data);
    std::apply(call->kernel, call->args);
  };
  run_grid({grid, block, dynamic_shared}, reinterpret_cast<const void*>(kernel), entry, &call, sizeof call);
}

}  // namespace hgfast::emu
