#include "global_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "emulator/runtime.h"
#include "engine.h"

namespace hgfast::emu {

namespace {

constexpr size_t kArenaBytes = size_t{1} << 40, kPage = 4096, kGuard = 16 * kPage;
constexpr char kPoison = static_cast<char>(0xff);

char* g_arena = nullptr;
char* g_next = nullptr;
std::vector<std::unique_ptr<Region>> g_regions;
Region* g_latest = nullptr;

void reserve_arena() {
  void* memory = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  g_arena = g_next = static_cast<char*>(memory);
}

// Address space is reused only when everything has been freed, so that a stale pointer hits a guard.
char* take_pages(size_t bytes) {
  if (!g_arena) reserve_arena();
  if (g_regions.empty()) g_next = g_arena;
  char* pages = g_next + kGuard;
  g_next = pages + bytes;
  if (g_next + kGuard > g_arena + kArenaBytes || mprotect(pages, bytes, PROT_READ | PROT_WRITE)) throw std::bad_alloc();
  return pages;
}

Region* nearest(const void* address, int64_t& distance) {
  const char* p = static_cast<const char*>(address);
  Region* best = nullptr;
  distance = INT64_MAX;
  for (const auto& region : g_regions) {
    const int64_t d = p < region->begin ? region->begin - p : p >= region->end() ? p - region->end() + 1 : 0;
    if (d < distance) distance = d, best = region.get();
  }
  return best;
}

void check_poison(const Region& region, const char* begin, const char* end, const char* side) {
  for (const char* p = begin; p < end; ++p) {
    if (*p != kPoison)
      fail("write %td bytes %s '%s' (%zu bytes)", p < region.begin ? region.begin - p : p - region.end() + 1, side,
           region.name.c_str(), region.bytes);
  }
}

}  // namespace

bool in_device_arena(const void* address) {
  const char* p = static_cast<const char*>(address);
  return g_arena && p >= g_arena && p < g_arena + kArenaBytes;
}

Region* find_region(const void* address) {
  const char* p = static_cast<const char*>(address);
  if (g_latest && p >= g_latest->begin && p < g_latest->end()) return g_latest;
  for (const auto& region : g_regions)
    if (p >= region->begin && p < region->end()) return g_latest = region.get();
  return nullptr;
}

std::string describe_global(const void* address) {
  int64_t distance;
  const Region* region = nearest(address, distance);
  if (!region) return "no tensor is there";
  const std::string name = "'" + region->name + "' (" + std::to_string(region->bytes) + " bytes)";
  const char* p = static_cast<const char*>(address);
  if (!distance) return "byte " + std::to_string(p - region->begin) + " of " + name;
  return std::to_string(distance) + " bytes " + (p < region->begin ? "before " : "past the end of ") + name;
}

Region& check_global(const void* address, size_t bytes, bool write, const char* what) {
  Region* region = find_region(address);
  const char* p = static_cast<const char*>(address);
  if (!region || p + bytes > region->end())
    fail("%s: out of bounds: %s", what, describe_global(region ? region->end() : address).c_str());
  if (write && region->access == Access::kRead) fail("%s: writes '%s', an input", what, region->name.c_str());
  return *region;
}

void check_canaries() {
  for (const auto& region : g_regions) {
    check_poison(*region, region->pages, region->begin, "before");
    check_poison(*region, region->end(), region->pages + region->page_bytes, "past the end of");
  }
}

}  // namespace hgfast::emu

using namespace hgfast::emu;

// ---- What tests/emulator/device.py calls.
extern "C" {

// A poisoned region whose address is `phase` modulo 16, as the tensor's would be on the device, and whose end is at
// most 15 bytes away from a guard page.
__attribute__((visibility("default"))) void* hgfast_emulator_allocate(size_t bytes, size_t phase, size_t granule,
                                                                      const char* name) {
  const size_t span = (phase + bytes + 15) / 16 * 16;
  const size_t page_bytes = std::max((span + kPage - 1) / kPage * kPage, kPage);
  char* pages = take_pages(page_bytes);
  std::memset(pages, kPoison, page_bytes);
  char* begin = pages + page_bytes - span + phase;
  g_regions.push_back(std::make_unique<Region>(
      Region{begin, bytes, Access::kReadWrite, name, std::min<size_t>(granule, 8), pages, page_bytes, {}}));
  return begin;
}

// After the data were copied in: what kernels may do with it. kWrite: nothing in it counts as written.
__attribute__((visibility("default"))) void hgfast_emulator_protect(void* address, int access) {
  Region& region = *find_region(address);
  region.access = static_cast<Access>(access);
  if (region.access == Access::kRead) mprotect(region.pages, region.page_bytes, PROT_READ);
  if (!engine.checking || region.access == Access::kRead) return;
  GlobalGranule fresh;
  fresh.initialised = region.access == Access::kReadWrite;
  region.shadow.assign((region.bytes + region.granule - 1) / region.granule, fresh);
}

__attribute__((visibility("default"))) void hgfast_emulator_free_all() {
  for (const auto& region : g_regions) {
    madvise(region->pages, region->page_bytes, MADV_DONTNEED);
    mprotect(region->pages, region->page_bytes, PROT_NONE);
  }
  g_regions.clear();
  g_latest = nullptr;
}
}
