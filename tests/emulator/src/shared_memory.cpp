#include "shared_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "emulator/runtime.h"
#include "engine.h"

namespace hgfast::emu {

namespace {
constexpr uint32_t kPage = 4096, kPoison = 0xff, kRedZone = 64, kLargestAlign = 1024;
uint32_t round_up(uint32_t value, uint32_t step) { return (value + step - 1) / step * step; }
}  // namespace

SharedMemory::SharedMemory() {
  void* memory = mmap(nullptr, kArena + 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<unsigned char*>(memory) + kPage;
  mprotect(memory, kPage, PROT_NONE);
  mprotect(base_ + kArena, kPage, PROT_NONE);
  std::memset(base_, kPoison, kArena);
}

SharedMemory::~SharedMemory() { munmap(base_ - kPage, kArena + 2 * kPage); }

void SharedMemory::reset(size_t dynamic_bytes) {
  highest_top_ = std::max(highest_top_, top_);
  std::memset(base_ + kFirst, kPoison, highest_top_ + kRedZone - kFirst);
  if (dynamic_begin_ < kArena) std::memset(base_ + dynamic_begin_, kPoison, kArena - dynamic_begin_);
  arrays_.clear();
  top_ = kFirst;
  static_bytes_ = 0;
  dynamic_bytes_ = static_cast<uint32_t>(dynamic_bytes);
  dynamic_offset_ = 0;
  // room to place the array at an address that is aligned to what the kernel asks for and to no more
  dynamic_begin_ =
      dynamic_bytes ? kArena - round_up(dynamic_bytes_ + kRedZone, kLargestAlign) - 2 * kLargestAlign : kArena;
  if (dynamic_bytes) std::memset(base_ + dynamic_begin_, kPoison, kArena - dynamic_begin_);
}

void* SharedMemory::static_array(const void* tag, size_t bytes, size_t align, const char* name) {
  for (const Array& array : arrays_)
    if (array.tag == tag) return base_ + array.offset;
  // every array is followed by a red zone, and does not start at a better alignment by accident
  uint32_t offset = round_up(top_, static_cast<uint32_t>(align));
  if (offset % (2 * align) == 0) offset += static_cast<uint32_t>(align);
  static_bytes_ += bytes;
  if (static_bytes_ > kStaticLimit) fail("static shared memory of %zu bytes exceeds 48 KiB", static_bytes_);
  if (static_bytes_ + dynamic_bytes_ > kLimit || offset + bytes + kRedZone > dynamic_begin_)
    fail("static (%zu) plus dynamic (%u) shared memory exceeds %zu bytes", static_bytes_, dynamic_bytes_, kLimit);
  top_ = offset + static_cast<uint32_t>(bytes) + kRedZone;
  arrays_.push_back({tag, offset, static_cast<uint32_t>(bytes), name});
  return base_ + offset;
}

unsigned char* SharedMemory::dynamic_array(size_t align) {
  if (align > kLargestAlign || (align & (align - 1)))
    fail("dynamic shared memory: alignment %zu is not supported", align);
  if (!dynamic_offset_) {
    dynamic_offset_ = round_up(dynamic_begin_, kLargestAlign) + static_cast<uint32_t>(align % kLargestAlign);
  }
  if (dynamic_offset_ % align) fail("dynamic shared memory is declared with two alignments, %zu is the larger", align);
  return base_ + dynamic_offset_;
}

bool SharedMemory::valid(uint32_t offset, size_t bytes) const {
  if (dynamic_offset_ && offset >= dynamic_offset_ && offset + bytes <= dynamic_offset_ + dynamic_bytes_) return true;
  return std::any_of(arrays_.begin(), arrays_.end(), [&](const Array& array) {
    return offset >= array.offset && offset + bytes <= array.offset + array.bytes;
  });
}

std::string SharedMemory::describe(uint32_t offset) const {
  for (const Array& array : arrays_) {
    if (offset >= array.offset && offset < array.offset + array.bytes + kRedZone)
      return "shared array '" + std::string(array.name) + "' of " + std::to_string(array.bytes) + " bytes, byte " +
             std::to_string(offset - array.offset);
  }
  const std::string size = std::to_string(dynamic_bytes_) + " bytes, byte ";
  return "dynamic shared memory of " + size + std::to_string(static_cast<int64_t>(offset) - dynamic_offset_);
}

bool SharedMemory::clean(uint32_t begin, uint32_t end) const {
  return std::all_of(base_ + begin, base_ + end, [](unsigned char byte) { return byte == kPoison; });
}

std::string SharedMemory::overrun() const {
  uint32_t at = kFirst;
  for (const Array& array : arrays_) {  // in the order of their offsets
    if (!clean(at, array.offset)) return "write before shared array '" + std::string(array.name) + "'";
    at = array.offset + array.bytes;
    if (!clean(at, at + kRedZone)) return "write past the end of shared array '" + std::string(array.name) + "'";
  }
  if (dynamic_begin_ == kArena) return "";
  const uint32_t end = dynamic_offset_ + dynamic_bytes_;
  if (!dynamic_offset_) return clean(dynamic_begin_, kArena) ? "" : "write to undeclared dynamic shared memory";
  if (!clean(dynamic_begin_, dynamic_offset_)) return "write before the dynamic shared memory";
  return clean(end, kArena) ? "" : "write past the end of the dynamic shared memory";
}

// ---- What kernels call

void* shared_static(const void* tag, size_t bytes, size_t align, const char* name) {
  return engine.block->shared.static_array(tag, bytes, align, name);
}

unsigned char* shared_dynamic(size_t align) { return engine.block->shared.dynamic_array(align); }

uint32_t shared_address(const void* pointer) {
  if (!engine.block->shared.contains(pointer)) fail("a pointer that is not into shared memory is used as one");
  return static_cast<uint32_t>(engine.block->shared.offset_of(pointer));
}

}  // namespace hgfast::emu
