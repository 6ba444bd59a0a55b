// The emulated device's global memory: exact allocations that end at a guard page, for one call of an op.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hgfast::emu {

enum class Access { kRead = 0, kReadWrite = 1, kWrite = 2 };

// Who touched a granule of a writable region last (check build). Blocks are numbered from 1; 0 is nobody.
struct GlobalGranule {
  uint32_t launch = 0;
  uint32_t write_block = 0, write_clock = 0, read_block = 0, read_clock = 0;
  uint16_t writer = 0, reader = 0;
  bool initialised = false, atomic = false;
  const void *write_pc = nullptr, *read_pc = nullptr;
};

struct Region {
  char* begin;
  size_t bytes;
  Access access;
  std::string name;
  size_t granule;  // bytes; never more than an element
  char* pages;
  size_t page_bytes;
  std::vector<GlobalGranule> shadow;

  char* end() const { return begin + bytes; }
};

// The region that holds the address, null for none.
Region* find_region(const void* address);
bool in_device_arena(const void* address);
// e.g. "4 bytes past the end of 'low' (96 bytes)"
std::string describe_global(const void* address);
// Fails unless the bytes lie in one region that may be accessed in this way.
Region& check_global(const void* address, size_t bytes, bool write, const char* what);
// Fails if the bytes around a region were written.
void check_canaries();

}  // namespace hgfast::emu
