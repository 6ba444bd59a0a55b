// Turns what goes wrong in a kernel into an exception of the launch.
#pragma once

namespace hgfast::emu {

// While it lives, a bad access or a kernel that never ends is an error of the running thread, not of the process.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;
};

}  // namespace hgfast::emu
