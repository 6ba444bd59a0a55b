// The shared memory of one block: a guarded arena with static arrays below and the dynamic array at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hgfast::emu {

class SharedMemory {
 public:
  // Shared-window addresses fit the 18 bits of a wgmma descriptor; the first KiB stays unused so that 0 is invalid.
  static constexpr uint32_t kArena = 256 << 10, kFirst = 1024;
  static constexpr size_t kStaticLimit = 48 << 10, kLimit = 227 << 10;

  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // Forgets all arrays and poisons what a block may use (0xff: NaN in every float format).
  void reset(size_t dynamic_bytes);
  void* static_array(const void* tag, size_t bytes, size_t align, const char* name);
  unsigned char* dynamic_array(size_t align);

  bool contains(const void* pointer) const { return offset_of(pointer) < kArena; }
  size_t offset_of(const void* pointer) const { return static_cast<const unsigned char*>(pointer) - base_; }
  unsigned char* at(uint32_t offset) { return base_ + offset; }
  // Whether all the bytes lie within one array.
  bool valid(uint32_t offset, size_t bytes) const;
  std::string describe(uint32_t offset) const;
  // Poison that was overwritten outside every array; empty if there is none.
  std::string overrun() const;

 private:
  struct Array {
    const void* tag;
    uint32_t offset, bytes;
    const char* name;
  };
  bool clean(uint32_t begin, uint32_t end) const;

  unsigned char* base_;
  std::vector<Array> arrays_;
  uint32_t top_ = kFirst, highest_top_ = kFirst;
  uint32_t dynamic_begin_ = kArena, dynamic_offset_ = 0, dynamic_bytes_ = 0;
  size_t static_bytes_ = 0;
};

}  // namespace hgfast::emu
