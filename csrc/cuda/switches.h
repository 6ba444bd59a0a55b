// Families of kernels that HGFAST_DISABLE has turned off (hgfast/_switches.py); set before the first one is chosen.
#pragma once

namespace hgfast::cuda {

struct Switches {
  bool wgmma = true, bottleneck = true, small = true, split = true;
};

inline Switches& switches() {
  static Switches all;
  return all;
}

}  // namespace hgfast::cuda
