// Block barriers from the scheduler's side.
#pragma once

#include "block.h"

namespace hgfast::emu {

// A thread has exited: the others may be complete at __syncthreads now.
void release_if_complete(Block& block);

}  // namespace hgfast::emu
