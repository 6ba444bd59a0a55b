// mbarriers as the copies that report to them see them.
#pragma once

#include "block.h"

namespace hgfast::emu {

// Fails unless an mbarrier was initialised there, and the running thread knows of it.
Mbarrier& mbarrier_at(uint32_t address);
// A bulk copy has delivered bytes; what its agent knows is passed on to those who wait.
void mbarrier_deliver(Mbarrier& barrier, int bytes);

}  // namespace hgfast::emu
