// The bounds table: every stretch of global memory that kernels may touch, exact to the byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hgfast::ptx {

struct Region {
  uint64_t begin, end;
  bool writable, lasting;
  std::string name;

  bool holds(uint64_t address, uint64_t bytes) const { return address >= begin && address + bytes <= end; }
};

class Regions {
 public:
  // Lasting ones outlive `clear`: a module's variables.
  void add(const void* begin, uint64_t bytes, bool writable, const std::string& name, bool lasting = false);
  void set_writable(const void* begin, bool writable);
  void clear();
  // The region of an access, or null. The latest one is tried first: accesses come in runs.
  const Region* find(uint64_t address, uint64_t bytes) {
    if (latest_ < list_.size() && list_[latest_].holds(address, bytes)) return &list_[latest_];
    return search(address, bytes);
  }
  // "4 bytes past the end of 'argument 0 of max_pool' (64 bytes)".
  std::string describe(uint64_t address) const;

 private:
  const Region* search(uint64_t address, uint64_t bytes);

  std::vector<Region> list_;
  size_t latest_ = 0;
};

Regions& regions();

}  // namespace hgfast::ptx
