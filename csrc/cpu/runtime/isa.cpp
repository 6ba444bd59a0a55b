#include "cpu/runtime/isa.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cpu/runtime/amx.h"

namespace hgfast::cpu {
namespace {

constexpr const char* kNames[] = {"baseline", "avx2", "avx512", "avx512_bf16", "amx_bf16"};

Isa best_of_processor() {
#ifdef HGFAST_X86_VARIANTS
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  return bf16 ? Isa::kAvx512Bf16 : avx512 ? Isa::kAvx512 : avx2 ? Isa::kAvx2 : Isa::kBaseline;
#else
  return Isa::kBaseline;
#endif
}

// Tiles last, as permission to use them is asked for only where they are wanted.
Isa choose() {
  const Isa best = best_of_processor();
  const char* wanted = std::getenv("HGFAST_CPU_ISA");
  for (int i = 0; wanted != nullptr && i <= static_cast<int>(best); ++i)
    if (std::strcmp(wanted, kNames[i]) == 0) return static_cast<Isa>(i);
  return best == Isa::kAvx512Bf16 && may_use_tiles() ? Isa::kAmxBf16 : best;
}

}  // namespace

Isa current_isa() {
  static const Isa isa = choose();
  return isa;
}

const char* isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }

}  // namespace hgfast::cpu
