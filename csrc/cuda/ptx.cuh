// Every PTX instruction the project uses, each a small device function in hgfast::cuda::ptx.
//
// No other file may contain asm. The host emulator (tests/emulator) supplies a twin of the same name and arguments for
// each function, so a kernel written with these wrappers runs on a machine without a GPU. Shared-memory operands are
// 32-bit addresses of the shared window (smem_u32).
#pragma once

#include "cuda/compat.cuh"

#ifdef HGFAST_EMULATOR
#include "emulator/ptx.h"
#else
#include "cuda/ptx/barrier.cuh"
#include "cuda/ptx/copy.cuh"
#include "cuda/ptx/matrix.cuh"
#include "cuda/ptx/tma.cuh"
#include "cuda/ptx/wgmma.cuh"
#endif
#include "cuda/ptx/descriptor.cuh"
