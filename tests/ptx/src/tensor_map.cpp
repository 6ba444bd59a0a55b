#include "tensor_map.h"

#include <cstddef>

#include "addresses.h"

namespace hgfast::ptx {

uint32_t TensorMap::checksum() const {
  uint32_t hash = 2166136261u;  // FNV-1a
  const auto* bytes = reinterpret_cast<const uint8_t*>(this);
  for (size_t k = 0; k < offsetof(TensorMap, check); ++k) hash = (hash ^ bytes[k]) * 16777619u;
  return hash;
}

TensorMap read_tensor_map(const Warp& w, int lane, uint64_t address) {
  if (address % 64) fail(w, lane, "a tensor map at " + hex(address) + " is not aligned to 64 bytes");
  TensorMap map;
  std::memcpy(&map, generic_at(w, lane, address, sizeof map, false), sizeof map);
  if (map.magic != kTensorMapMagic || map.check != map.checksum())
    fail(w, lane, "there is no tensor map at " + hex(address));
  return map;
}

}  // namespace hgfast::ptx
