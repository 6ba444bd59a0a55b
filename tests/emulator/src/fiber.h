// Stacks and the switch between them: one fiber per CUDA thread.
#pragma once

#include <cstddef>

extern "C" {
// Saves the callee-saved registers and the stack pointer to *save, then continues where `load` was saved.
__attribute__((visibility("hidden"))) void hgfast_emulator_switch(void** save, void* load);
}

namespace hgfast::emu {

// Equal stacks with a guard page below each. Pages are touched only when used.
class StackPool {
 public:
  explicit StackPool(int count);
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  // A stack pointer from which hgfast_emulator_switch enters `entry`.
  void* prepare(int index, void (*entry)());
  // Index of the stack that holds the address, -1 for none.
  int owner(const void* address) const;
  bool in_guard(const void* address) const;

  static constexpr size_t kStackBytes = 64 << 10;

 private:
  static constexpr size_t kPage = 4096, kStride = kStackBytes + kPage;
  char* base_;
  size_t bytes_;
};

}  // namespace hgfast::emu
