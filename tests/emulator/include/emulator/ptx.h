// Twins of csrc/cuda/ptx.cuh: the same names and arguments, plus the place of the call.
#pragma once

#include "emulator/ptx_barrier.h"
#include "emulator/ptx_copy.h"
#include "emulator/ptx_matrix.h"
#include "emulator/ptx_tma.h"
#include "emulator/ptx_wgmma.h"
