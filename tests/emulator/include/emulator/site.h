// Where in the kernel's source a call was made.
#pragma once

namespace hgfast::emu {

struct Site {
  const char* file = nullptr;
  int line = 0;

  // As a default argument this yields the caller's file and line.
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

}  // namespace hgfast::emu
