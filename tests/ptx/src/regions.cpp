#include "regions.h"

#include <algorithm>

#include "error.h"

namespace hgfast::ptx {

Regions& regions() {
  static auto* const all = new Regions;  // never destroyed: kernels may run at exit
  return *all;
}

void Regions::add(const void* begin, uint64_t bytes, bool writable, const std::string& name, bool lasting) {
  const auto at = reinterpret_cast<uint64_t>(begin);
  list_.push_back({at, at + bytes, writable, lasting, name});
}

void Regions::set_writable(const void* begin, bool writable) {
  for (Region& region : list_)
    if (region.begin == reinterpret_cast<uint64_t>(begin)) region.writable = writable;
}

void Regions::clear() {
  list_.erase(std::remove_if(list_.begin(), list_.end(), [](const Region& r) { return !r.lasting; }), list_.end());
}

const Region* Regions::search(uint64_t address, uint64_t bytes) {
  for (size_t i = 0; i < list_.size(); ++i)
    if (list_[i].holds(address, bytes)) return &list_[latest_ = i];
  return nullptr;
}

std::string Regions::describe(uint64_t address) const {
  const Region* nearest = nullptr;
  uint64_t least = 1 << 20;
  bool before = false;
  for (const Region& region : list_) {
    const bool is_before = address < region.begin;
    const uint64_t distance = is_before ? region.begin - address : address < region.end ? 0 : address - region.end;
    if (distance < least) least = distance, nearest = &region, before = is_before;
  }
  if (!nearest) return hex(address) + " is no memory of the kernel's";
  const std::string size = " '" + nearest->name + "' (" + std::to_string(nearest->end - nearest->begin) + " bytes)";
  if (before) return std::to_string(least) + " bytes before" + size;
  if (address < nearest->end) return "across the end of" + size;
  return std::to_string(least) + " bytes past the end of" + size;
}

}  // namespace hgfast::ptx
