// prmt, bfi, bfe, popc, clz, bfind, brev (PTX ISA, "Integer Arithmetic", "Data Movement").
#include <algorithm>
#include <type_traits>

#include "decoder.h"
#include "families.h"
#include "lanewise.h"

namespace hgfast::ptx {

namespace {

// Each nibble of c chooses a byte of b:a, or (bit 3) spreads that byte's sign.
Step permute(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    const uint64_t both = uint64_t{w.at<uint32_t>(i.b)[l]} << 32 | w.at<uint32_t>(i.a)[l];
    const uint32_t choice = w.at<uint32_t>(i.c)[l];
    uint32_t result = 0;
    for (uint32_t k = 0; k < 4; ++k) {
      const uint32_t nibble = choice >> (4 * k) & 15;
      uint32_t byte = static_cast<uint32_t>(both >> (8 * (nibble & 7))) & 0xff;
      if (nibble & 8) byte = byte & 0x80 ? 0xff : 0;
      result |= byte << (8 * k);
    }
    w.at<uint32_t>(i.d)[l] = result;
  });
  return Step::kNext;
}

// `length` ones from bit `position` on; what does not fit is cut.
template <class T>
T field(uint32_t position, uint32_t length) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  if (position >= kBits || length == 0) return 0;
  return static_cast<T>((length >= kBits ? ~T{0} : static_cast<T>((T{1} << length) - 1)) << position);
}

template <class T>
Step insert_field(Warp& w, const Instruction& i) {
  for_lanes(w, [&](int l) {
    const uint32_t position = w.at<uint32_t>(i.c)[l] & 0xff, length = w.at<uint32_t>(i.e)[l] & 0xff;
    const T mask = field<T>(position, length), a = w.at<T>(i.a)[l], b = w.at<T>(i.b)[l];
    w.at<T>(i.d)[l] = mask ? static_cast<T>((b & ~mask) | (static_cast<T>(a << position) & mask)) : b;
  });
  return Step::kNext;
}

// Signed fields are extended by their last bit, or by the operand's where they reach beyond it.
template <class T>
Step extract_field(Warp& w, const Instruction& i) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  using Signed = std::make_signed_t<T>;
  for_lanes(w, [&](int l) {
    const uint32_t position = w.at<uint32_t>(i.b)[l] & 0xff, length = w.at<uint32_t>(i.c)[l] & 0xff;
    const T a = w.at<T>(i.a)[l];
    const bool sign = i.flags && length && (a >> std::min(position + length - 1, kBits - 1) & 1);
    T value = 0;
    if (length) {
      const T shifted = position >= kBits ? T{0} : static_cast<T>(a >> position);
      const T mask = field<T>(0, std::min(length, position >= kBits ? 0 : kBits - position));
      value = static_cast<T>(shifted & mask);
      if (sign) value = static_cast<T>(value | static_cast<T>(~mask));
    }
    w.at<T>(i.d)[l] = static_cast<T>(static_cast<Signed>(value));
  });
  return Step::kNext;
}

template <class T>
struct PopCount {
  static uint32_t f(T v) { return static_cast<uint32_t>(__builtin_popcountll(v)); }
};
template <class T>
struct LeadingZeros {
  static uint32_t f(T v) {
    return v ? static_cast<uint32_t>(__builtin_clzll(v)) - (64 - 8 * sizeof(T)) : 8 * sizeof(T);
  }
};
// Position of the highest bit that is set, or in negative numbers is not; all ones where there is none.
template <class T>
struct FindHighest {
  static uint32_t f(T v) {
    const std::make_unsigned_t<T> bits = static_cast<std::make_unsigned_t<T>>(v < 0 ? ~v : v);
    return bits ? 63 - static_cast<uint32_t>(__builtin_clzll(bits)) : ~0u;
  }
};
template <class T>
struct ShiftToHighest {
  static uint32_t f(T v) {
    const uint32_t at = FindHighest<T>::f(v);
    return at == ~0u ? at : 8 * sizeof(T) - 1 - at;
  }
};
struct Reverse {
  template <class T>
  static T f(T v) {
    T result = 0;
    for (uint32_t k = 0; k < 8 * sizeof(T); ++k) result |= (v >> k & 1) << (8 * sizeof(T) - 1 - k);
    return result;
  }
};

// The result has 4 bytes whatever the operand has.
template <class T, class F>
Step count(Warp& w, const Instruction& i) {
  uint32_t* const d = w.at<uint32_t>(i.d);
  const T* const a = w.at<T>(i.a);
  for_lanes(w, [=](int l) { d[l] = F::f(a[l]); });
  return Step::kNext;
}

template <template <class> class F>
Handler count_of(const Text& type) {
  if (type_bytes(type) == 8) return is_signed(type) ? count<int64_t, F<int64_t>> : count<uint64_t, F<uint64_t>>;
  return is_signed(type) ? count<int32_t, F<int32_t>> : count<uint32_t, F<uint32_t>>;
}

}  // namespace

Handler decode_permute(Decoder& d) {
  Instruction& i = *d.now;
  i.d = d.destination(0, 4), i.a = d.source(1, 4), i.b = d.source(2, 4), i.c = d.source(3, 4);
  return d.opcode.modifiers.empty() ? permute : nullptr;
}

Handler decode_bit_insert(Decoder& d) {
  Instruction& i = *d.now;
  const int bytes = d.bytes();
  i.d = d.destination(0, bytes), i.a = d.source(1, bytes), i.b = d.source(2, bytes);
  i.c = d.source(3, 4), i.e = d.source(4, 4);
  return bytes == 4 ? insert_field<uint32_t> : insert_field<uint64_t>;
}

Handler decode_bit_extract(Decoder& d) {
  Instruction& i = *d.now;
  const int bytes = d.bytes();
  i.d = d.destination(0, bytes), i.a = d.source(1, bytes), i.b = d.source(2, 4), i.c = d.source(3, 4);
  i.flags = is_signed(d.type());
  return bytes == 4 ? extract_field<uint32_t> : extract_field<uint64_t>;
}

Handler decode_bit_count(Decoder& d) {
  Instruction& i = *d.now;
  const Text& name = d.opcode.name;
  i.d = d.destination(0, name == "brev" ? d.bytes() : 4), i.a = d.source(1, d.bytes());
  if (name == "brev") return d.bytes() == 4 ? unary<uint32_t, Reverse> : unary<uint64_t, Reverse>;
  if (name == "popc") return count_of<PopCount>(d.bytes() == 8 ? "b64" : "b32");
  if (name == "clz") return count_of<LeadingZeros>(d.bytes() == 8 ? "b64" : "b32");
  return d.has("shiftamt") ? count_of<ShiftToHighest>(d.type()) : count_of<FindHighest>(d.type());
}

}  // namespace hgfast::ptx
