// out = skip + nearest-neighbour 2x upsampling of low: the merge of an hourglass, and its backward (2x2 sums).
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace hgfast {

// skip and out are (n, h, w, c), low is (n, ceil(h/2), ceil(w/2), c), all dense in the memory order `layout`.
// out may be skip (in place).
struct UpsampleAdd {
  const void* skip;
  const void* low;
  void* out;
  DType dtype;
  Layout layout;
  int64_t n, h, w, c;

  int64_t low_h() const { return (h + 1) / 2; }
  int64_t low_w() const { return (w + 1) / 2; }
};

// grad is (n, h, w, c), grad_low (n, ceil(h/2), ceil(w/2), c): the sum of grad over the pixels that low was copied to.
struct UpsampleAddBackward {
  const void* grad;
  void* grad_low;
  DType dtype;
  Layout layout;
  int64_t n, h, w, c;

  int64_t low_h() const { return (h + 1) / 2; }
  int64_t low_w() const { return (w + 1) / 2; }
};

}  // namespace hgfast
