// Which of the compiled instruction-set variants runs on this processor.
#pragma once

namespace hgfast::cpu {

enum class Isa {
  kBaseline = 0,
  kAvx2 = 1,
  kAvx512 = 2,
  kAvx512Bf16 = 3,  // with AVX512_BF16 and VNNI
  kAmxBf16 = 4,     // with AMX's tiles of bfloat16 and int8 besides, and the kernel's permission to use them
};

// The best variant that was compiled and that the processor has; HGFAST_CPU_ISA=baseline|avx2|avx512|avx512_bf16 lowers
// it.
Isa current_isa();
const char* isa_name(Isa isa);

}  // namespace hgfast::cpu
