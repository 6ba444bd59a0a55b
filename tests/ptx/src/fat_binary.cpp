#include "fat_binary.h"

#include <cstdlib>
#include <cstring>

#include "error.h"

namespace hgfast::ptx {

namespace {

constexpr uint32_t kMagic = 0xba55ed50;
constexpr uint16_t kPtx = 1;

template <class T>
T field(const uint8_t* data, size_t offset) {
  T value;
  std::memcpy(&value, data + offset, sizeof value);
  return value;
}

// ".target sm_90a": 90, and whether it is for that capability alone.
int target_of(std::string_view ptx, bool& exact) {
  const size_t at = ptx.find(".target sm_");
  if (at == std::string_view::npos) return -1;
  char* end = nullptr;
  const auto capability = static_cast<int>(std::strtol(ptx.data() + at + std::strlen(".target sm_"), &end, 10));
  exact = *end == 'a';
  return capability;
}

}  // namespace

int device_capability() {
  static const int capability = [] {
    const char* wish = std::getenv("HGFAST_PTX_ARCH");
    return wish ? std::atoi(wish) : 90;
  }();
  return capability;
}

// A header (size of the header at 6, of what follows at 8), then entries (kind at 0, size of the header at 4, of what
// follows at 8).
FatBinary::FatBinary(const uint8_t* data) {
  if (field<uint32_t>(data, 0) != kMagic) throw Error("PTX: unknown format of a fat binary");
  const uint8_t* at = data + field<uint16_t>(data, 6);
  const uint8_t* const end = at + field<uint64_t>(data, 8);
  while (at < end) {
    const auto header = field<uint32_t>(at, 4);
    const auto bytes = field<uint64_t>(at, 8);
    const std::string_view text(reinterpret_cast<const char*>(at + header), bytes);
    if (field<uint16_t>(at, 0) == kPtx) {
      if (text.find(".version") == std::string_view::npos) throw Error("PTX: compile with --no-compress");
      images_.push_back(text);
    }
    at += header + bytes;
  }
}

Module& FatBinary::module() {
  if (module_) return *module_;
  const std::string_view* best = nullptr;
  int best_rank = -1;
  for (const std::string_view& image : images_) {
    bool exact = false;
    const int target = target_of(image, exact), rank = 2 * target + exact;
    const bool runs = exact ? target == device_capability() : target <= device_capability();
    if (target >= 0 && runs && rank > best_rank) best_rank = rank, best = &image;
  }
  if (!best) throw Error("PTX: no image for compute capability " + std::to_string(device_capability()));
  module_ = std::make_unique<Module>(std::string(*best));
  return *module_;
}

}  // namespace hgfast::ptx
