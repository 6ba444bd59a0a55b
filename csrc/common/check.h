// Checks that throw: a wrong call from Python becomes a ValueError or RuntimeError there, never a crash.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace hgfast {

// static: the CPU kernels are compiled once per instruction set, and the linker must not merge these copies.
template <class... Parts>
[[noreturn]] static void fail_value(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

}  // namespace hgfast

// HGFAST_CHECK(n > 0, "upsample_add: n must be positive, got ", n)
#define HGFAST_CHECK(condition, ...)                     \
  do {                                                   \
    if (!(condition)) ::hgfast::fail_value(__VA_ARGS__); \
  } while (false)
