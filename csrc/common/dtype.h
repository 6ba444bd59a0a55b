// Element types and the one switch over them. The codes are those of hgfast/_native.py: DTYPE_CODES.
#pragma once

#include "common/check.h"

namespace hgfast {

enum class DType : int { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2, kFloat64 = 3 };

// Memory order of a 4-d activation: kNHWC is torch's channels_last.
enum class Layout : int { kNHWC = 0, kNCHW = 1 };

template <class T>
struct TypeTag {
  using type = T;
};

// Calls f(TypeTag<T>{}) with T the storage type of dtype. Half and BFloat16 are the backend's own types
// (csrc/cpu/half.h or CUDA's). kWithDouble = false for kernels that have no float64 form (CUDA).
template <class Half, class BFloat16, bool kWithDouble, class F>
void dispatch_dtype(DType dtype, const char* op, const F& f) {
  switch (dtype) {
    case DType::kFloat32:
      return f(TypeTag<float>{});
    case DType::kFloat16:
      return f(TypeTag<Half>{});
    case DType::kBFloat16:
      return f(TypeTag<BFloat16>{});
    case DType::kFloat64:
      if constexpr (kWithDouble) return f(TypeTag<double>{});
      break;
  }
  fail_value(op, ": no kernel for dtype code ", static_cast<int>(dtype));
}

}  // namespace hgfast
