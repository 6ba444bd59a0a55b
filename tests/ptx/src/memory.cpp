// Loads and stores (PTX ISA, "ld", "st"): lanes' addresses are found and checked first, then elements are moved.
#include "addresses.h"
#include "decoder.h"
#include "families.h"

namespace hgfast::ptx {

namespace {

enum Space : uint8_t { kGeneric, kGlobal, kConstant, kShared, kLocal, kParameter };

uint8_t* locate(const Warp& w, Space space, int lane, uint64_t address, uint32_t bytes, bool writes) {
  if (address & (bytes - 1))
    fail(w, lane, "address " + hex(address) + " is not aligned to " + std::to_string(bytes) + " bytes");
  switch (space) {
    case kShared:
      return shared_at(w, lane, address, bytes);
    case kLocal:
      return local_at(w, lane, address, bytes);
    case kParameter:
      return parameter_at(w, lane, address, bytes);
    case kGlobal:
    case kConstant:
      return global_at(w, lane, address, bytes, writes);
    default:
      return generic_at(w, lane, address, bytes, writes);
  }
}

// A memory element of type M and a register of type R, which may be wider: loads extend, stores cut.
template <class M, class R, bool kLoad>
Step transfer(Warp& w, const Instruction& i) {
  const auto bytes = static_cast<uint32_t>(sizeof(M) * i.list.size());
  for_lanes(w, [&](int l) {
    const uint64_t address = w.address(i.a, i.narrow, i.offset, l);
    uint8_t* const memory = locate(w, static_cast<Space>(i.flags), l, address, bytes, !kLoad);
    for (size_t k = 0; k < i.list.size(); ++k) {
      R& r = w.at<R>(i.list[k])[l];
      M value = static_cast<M>(r);
      if constexpr (kLoad) {
        std::memcpy(&value, memory + k * sizeof(M), sizeof(M));
        r = static_cast<R>(value);
      } else {
        std::memcpy(memory + k * sizeof(M), &value, sizeof(M));
      }
    }
  });
  return Step::kNext;
}

template <class M, bool kLoad>
Handler transfer_of(int register_bytes) {
  switch (register_bytes) {
    case 1:
      return transfer<M, std::conditional_t<std::is_signed_v<M>, int8_t, uint8_t>, kLoad>;
    case 2:
      return transfer<M, std::conditional_t<std::is_signed_v<M>, int16_t, uint16_t>, kLoad>;
    case 4:
      return transfer<M, std::conditional_t<std::is_signed_v<M>, int32_t, uint32_t>, kLoad>;
    case 8:
      return transfer<M, std::conditional_t<std::is_signed_v<M>, int64_t, uint64_t>, kLoad>;
    default:
      return nullptr;
  }
}

template <bool kLoad>
Handler transfer_of(const Text& type, int register_bytes) {
  const bool sign = is_signed(type);
  switch (type_bytes(type)) {
    case 1:
      return sign ? transfer_of<int8_t, kLoad>(register_bytes) : transfer_of<uint8_t, kLoad>(register_bytes);
    case 2:
      return sign ? transfer_of<int16_t, kLoad>(register_bytes) : transfer_of<uint16_t, kLoad>(register_bytes);
    case 4:
      return sign ? transfer_of<int32_t, kLoad>(register_bytes) : transfer_of<uint32_t, kLoad>(register_bytes);
    case 8:
      return transfer_of<uint64_t, kLoad>(register_bytes);
    default:
      return nullptr;
  }
}

Space space_of(const Decoder& d) {
  if (d.has("global")) return kGlobal;
  if (d.has("const")) return kConstant;
  if (d.has("shared") || d.has("shared::cta") || d.has("shared::cluster")) return kShared;
  if (d.has("local")) return kLocal;
  if (d.has("param") || d.has("param::entry")) return kParameter;
  return kGeneric;
}

template <bool kLoad>
Handler decode_transfer(Decoder& d) {
  Instruction& i = *d.now;
  int register_bytes = 0;
  for (const Text& element : vector_elements(d.operand(kLoad ? 0 : 1))) {
    int actual = 0;
    i.list.push_back(kLoad ? d.wide_destination(element, d.bytes(), actual)
                           : d.wide_source(element, d.bytes(), actual));
    if (element == "_" && register_bytes) continue;
    if (register_bytes && actual != register_bytes) d.refuse("registers of two sizes in one vector");
    register_bytes = actual;
  }
  d.set_address(kLoad ? 1 : 0);
  i.flags = space_of(d);
  if (register_bytes < d.bytes()) return nullptr;
  return transfer_of<kLoad>(d.type(), register_bytes);
}

}  // namespace

Handler decode_load(Decoder& d) { return decode_transfer<true>(d); }
Handler decode_store(Decoder& d) { return decode_transfer<false>(d); }

}  // namespace hgfast::ptx
