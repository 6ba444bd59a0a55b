#include "cpu/runtime/amx.h"

#if defined(__linux__) && defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace hgfast::cpu {

#if defined(__linux__) && defined(__x86_64__)
namespace {

// Intel's Software Developer's Manual, volume 2, CPUID, leaf 7: AMX-BF16, AMX-TILE, AMX-INT8.
bool processor_has_tiles() {
  constexpr unsigned kNeeded = 1u << 22 | 1u << 24 | 1u << 25;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kNeeded) == kNeeded;
}

// XCR0, which says what the system saves when it switches threads: XTILECFG and XTILEDATA.
bool system_saves_tiles() {
  constexpr unsigned kOsxsave = 1u << 27, kTiles = 1u << 17 | 1u << 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kOsxsave)) return false;
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kTiles) == kTiles;
}

// Linux's Documentation/arch/x86/xstate.rst. Refused where a thread's alternative signal stack is too small.
bool linux_grants_tiles() {
  constexpr long kArchReqXcompPerm = 0x1023, kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

}  // namespace

bool may_use_tiles() { return processor_has_tiles() && system_saves_tiles() && linux_grants_tiles(); }
#else
bool may_use_tiles() { return false; }
#endif

}  // namespace hgfast::cpu
