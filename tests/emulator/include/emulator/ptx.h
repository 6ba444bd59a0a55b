// Twins of csrc/cuda/ptx.cuh: the same names and arguments, plus the place of the call.
#pragma once

#include "emulator/ptx_copy.h"
