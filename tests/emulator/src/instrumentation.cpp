// The check build compiles kernels with -fsanitize=thread and a few of -fsanitize=undefined, and defines their
// callbacks here instead of linking the sanitizers' runtimes: every load and store of a kernel arrives in note_access.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "access.h"
#include "engine.h"

using hgfast::emu::fail;
using hgfast::emu::note_access;

extern "C" {

void __tsan_init() { hgfast::emu::engine.checking = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}

#define HG_TSAN_ACCESS(BYTES)                                                                               \
  void __tsan_read##BYTES(void* p) { note_access(p, BYTES, false, __builtin_return_address(0)); }           \
  void __tsan_write##BYTES(void* p) { note_access(p, BYTES, true, __builtin_return_address(0)); }           \
  void __tsan_unaligned_read##BYTES(void* p) { note_access(p, BYTES, false, __builtin_return_address(0)); } \
  void __tsan_unaligned_write##BYTES(void* p) { note_access(p, BYTES, true, __builtin_return_address(0)); }
HG_TSAN_ACCESS(1)
HG_TSAN_ACCESS(2)
HG_TSAN_ACCESS(4)
HG_TSAN_ACCESS(8)
HG_TSAN_ACCESS(16)

void __tsan_read_range(void* p, size_t bytes) {
  if (bytes) note_access(p, bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void* p, size_t bytes) {
  if (bytes) note_access(p, bytes, true, __builtin_return_address(0));
}

// The layout is that of GCC's handlers; only the location at the start of each is used.
struct UbsanLocation {
  const char* file;
  uint32_t line, column;
};

[[noreturn]] static void fail_at(const UbsanLocation* location, const char* what) {
  fail("%s at %s:%u", what, std::strrchr(location->file, '/') ? std::strrchr(location->file, '/') + 1 : location->file,
       location->line);
}

#define HG_UBSAN(NAME, MESSAGE) \
  void __ubsan_handle_##NAME##_abort(UbsanLocation* location) { fail_at(location, MESSAGE); }
HG_UBSAN(out_of_bounds, "array index out of bounds")
HG_UBSAN(type_mismatch_v1, "misaligned access or null pointer")
HG_UBSAN(add_overflow, "signed overflow")
HG_UBSAN(sub_overflow, "signed overflow")
HG_UBSAN(mul_overflow, "signed overflow")
HG_UBSAN(negate_overflow, "signed overflow")
HG_UBSAN(divrem_overflow, "division by zero or overflow")
HG_UBSAN(shift_out_of_bounds, "shift by more than the width")
}
