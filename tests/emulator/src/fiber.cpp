#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#error "the emulator's context switch is written for x86-64"
#endif

// About 20 ns a switch; swapcontext takes 30 times as long because it saves the signal mask.
asm(R"(.text
.globl hgfast_emulator_switch
.hidden hgfast_emulator_switch
.type hgfast_emulator_switch,@function
hgfast_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size hgfast_emulator_switch,.-hgfast_emulator_switch
)");

namespace hgfast::emu {

StackPool::StackPool(int count) : bytes_(count * kStride) {
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<char*>(memory);
  for (int i = 0; i < count; ++i) mprotect(base_ + i * kStride, kPage, PROT_NONE);
}

StackPool::~StackPool() { munmap(base_, bytes_); }

void* StackPool::prepare(int index, void (*entry)()) {
  // Tops are spread over the page, or the same frame of every thread would fall into the same cache set.
  const size_t spread = static_cast<size_t>(index) * 832 % kPage;
  void** sp = reinterpret_cast<void**>(base_ + (index + 1) * kStride - spread);
  *--sp = nullptr;  // entry's return address; it never returns
  *--sp = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--sp = nullptr;  // the six registers that the switch restores
  return sp;
}

int StackPool::owner(const void* address) const {
  const size_t offset = static_cast<const char*>(address) - base_;
  return offset < bytes_ ? static_cast<int>(offset / kStride) : -1;
}

bool StackPool::in_guard(const void* address) const {
  const size_t offset = static_cast<const char*>(address) - base_;
  return offset < bytes_ && offset % kStride < kPage;
}

}  // namespace hgfast::emu
