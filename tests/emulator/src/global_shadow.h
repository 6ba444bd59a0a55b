// Races and uninitialised reads in writable global memory (check build), and what orders blocks.
#pragma once

#include <cstddef>

namespace hgfast::emu {

enum class GlobalKind { kRead, kWrite, kAtomic };

// Fails if the running thread's access is out of bounds, not allowed, or races with an earlier one of this launch.
void note_global(const void* address, size_t bytes, GlobalKind kind, const void* pc);
// The host or a copy engine filled these bytes before the kernel.
void mark_initialised(const void* address, size_t bytes);

}  // namespace hgfast::emu
