// The dtype switch of the CPU kernels.
#pragma once

#include "common/dtype.h"
#include "cpu/vec.h"

namespace hgfast::cpu::HGFAST_ISA {

template <class F>
void dispatch(DType dtype, const char* op, const F& f) {
  dispatch_dtype<Half, BFloat16, true>(dtype, op, f);
}

}  // namespace hgfast::cpu::HGFAST_ISA
