// hgfast::cpu::<op> for every op of the table: calls the variant for this processor's instruction set.
#include "common/ops.h"
#include "cpu/runtime/isa.h"

#define HGFAST_DECLARE_VARIANTS(name, Problem) \
  namespace hgfast::cpu::baseline {            \
  void name(const Problem&, Exec);             \
  }                                            \
  namespace hgfast::cpu::avx2 {                \
  void name(const Problem&, Exec);             \
  }                                            \
  namespace hgfast::cpu::avx512 {              \
  void name(const Problem&, Exec);             \
  }
#define HGFAST_DECLARE_BF16_VARIANTS(name, Problem) \
  namespace hgfast::cpu::avx512_bf16 {              \
  void name(const Problem&, Exec);                  \
  }                                                 \
  namespace hgfast::cpu::amx_bf16 {                 \
  void name(const Problem&, Exec);                  \
  }

HGFAST_FOR_EACH_OP(HGFAST_DECLARE_VARIANTS)
HGFAST_FOR_EACH_CPU_ONLY_OP(HGFAST_DECLARE_VARIANTS)
HGFAST_FOR_EACH_CONV_OP(HGFAST_DECLARE_BF16_VARIANTS)

#ifdef HGFAST_X86_VARIANTS
#define HGFAST_DEFINE_VARIANTS(name, Problem, with_tiles, with_bf16) \
  void name(const Problem& problem, Exec exec) {                     \
    switch (current_isa()) {                                         \
      case Isa::kAmxBf16:                                            \
        return with_tiles::name(problem, exec);                      \
      case Isa::kAvx512Bf16:                                         \
        return with_bf16::name(problem, exec);                       \
      case Isa::kAvx512:                                             \
        return avx512::name(problem, exec);                          \
      case Isa::kAvx2:                                               \
        return avx2::name(problem, exec);                            \
      case Isa::kBaseline:                                           \
        return baseline::name(problem, exec);                        \
    }                                                                \
  }
#else
#define HGFAST_DEFINE_VARIANTS(name, Problem, with_tiles, with_bf16) \
  void name(const Problem& problem, Exec exec) { baseline::name(problem, exec); }
#endif
#define HGFAST_DEFINE_CONV_DISPATCH(name, Problem) HGFAST_DEFINE_VARIANTS(name, Problem, amx_bf16, avx512_bf16)
#define HGFAST_DEFINE_DISPATCH(name, Problem) HGFAST_DEFINE_VARIANTS(name, Problem, avx512, avx512)

namespace hgfast::cpu {
HGFAST_FOR_EACH_CONV_OP(HGFAST_DEFINE_CONV_DISPATCH)
HGFAST_FOR_EACH_OTHER_OP(HGFAST_DEFINE_DISPATCH)
HGFAST_FOR_EACH_CPU_ONLY_OP(HGFAST_DEFINE_DISPATCH)
}  // namespace hgfast::cpu
