// One access of a kernel to memory, from the compiler's instrumentation or from a twin (check build).
#pragma once

#include <cstddef>

namespace hgfast::emu {

void note_access(const void* address, size_t bytes, bool write, const void* pc);

}  // namespace hgfast::emu
