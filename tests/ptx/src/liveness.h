// Where in a kernel each register holds a value that somebody may still read.
#pragma once

#include <cstdint>
#include <vector>

#include "program.h"

namespace hgfast::ptx {

// From the first to the last instruction at which a register is in use, both included.
struct Stretch {
  uint32_t first = ~0u, last = 0;

  bool empty() const { return first > last; }
  void include(uint32_t instruction) {
    if (instruction < first) first = instruction;
    if (instruction > last) last = instruction;
  }
};

// One for each register below `registers`.
std::vector<Stretch> live_stretches(const Entry& entry, uint32_t registers);

}  // namespace hgfast::ptx
