// How much of what one core works on stays near it.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace hgfast::cpu::HGFAST_ISA {

inline int64_t l2_bytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return 1 << 20;
}

}  // namespace hgfast::cpu::HGFAST_ISA
