// Entry header of the host emulator; compat.cuh includes it instead of CUDA's headers.
#pragma once

#include "emulator/qualifiers.h"
//
#include "emulator/intrinsics.h"
#include "emulator/launch.h"
#include "emulator/runtime.h"
#include "emulator/warp.h"

// Shared memory of a kernel (see compat.cuh): the tag's address tells arrays apart, as the declaration does in CUDA.
#define HG_SHARED(T, name, N)  \
  static char name##_tag_;     \
  T(&name)                     \
  [N] = *static_cast<T(*)[N]>( \
      ::hgfast::emu::shared_static(&name##_tag_, sizeof(T) * (N), alignof(T) < 4 ? 4 : alignof(T), #name))
#define HG_DYN_SMEM(name, align) unsigned char* const name = ::hgfast::emu::shared_dynamic(align)

namespace hgfast::cuda {

// The twin of compat.cuh's launch; streams do not exist here.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t dynamic_smem, std::intptr_t, Args&&... args) {
  ::hgfast::emu::launch_grid(kernel, grid, block, dynamic_smem, static_cast<Args&&>(args)...);
}

}  // namespace hgfast::cuda
