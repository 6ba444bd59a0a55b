// mov, with packing and unpacking of vectors; selp; cache policies (PTX ISA, "Data Movement and Conversion").
#include "decoder.h"
#include "families.h"
#include "machine.h"
#include "special_registers.h"

namespace hgfast::ptx {

namespace {

template <class T>
Step mov(Warp& w, const Instruction& i) {
  T* const d = w.at<T>(i.d);
  const T* const a = w.at<T>(i.a);
  for_lanes(w, [=](int l) { d[l] = a[l]; });
  return Step::kNext;
}

Step mov_predicate(Warp& w, const Instruction& i) {
  w.set_predicate(i.d, w.predicate(i.a));
  return Step::kNext;
}

Handler mov_of(int bytes) {
  switch (bytes) {
    case 1:
      return mov<uint8_t>;
    case 2:
      return mov<uint16_t>;
    case 4:
      return mov<uint32_t>;
    case 8:
      return mov<uint64_t>;
    default:
      return bytes ? nullptr : mov_predicate;
  }
}

// Parts of `n` bytes, list, and a whole of `offset` bytes, a or d.
Step pack(Warp& w, const Instruction& i) {
  const auto whole = static_cast<size_t>(i.offset);
  for_lanes(w, [&](int l) {
    uint8_t value[16];
    for (size_t k = 0; k < i.list.size(); ++k)
      std::memcpy(value + k * i.n, w.at<uint8_t>(i.list[k]) + static_cast<size_t>(l) * i.n, i.n);
    std::memcpy(w.at<uint8_t>(i.d) + static_cast<size_t>(l) * whole, value, whole);
  });
  return Step::kNext;
}
Step unpack(Warp& w, const Instruction& i) {
  const auto whole = static_cast<size_t>(i.offset);
  for_lanes(w, [&](int l) {
    uint8_t value[16];
    std::memcpy(value, w.at<uint8_t>(i.a) + static_cast<size_t>(l) * whole, whole);
    for (size_t k = 0; k < i.list.size(); ++k)
      std::memcpy(w.at<uint8_t>(i.list[k]) + static_cast<size_t>(l) * i.n, value + k * i.n, i.n);
  });
  return Step::kNext;
}

Handler decode_vector(Decoder& d, bool packs) {
  Instruction& i = *d.now;
  const auto parts = vector_elements(d.operand(packs ? 1 : 0));
  i.offset = d.bytes();
  i.n = static_cast<uint32_t>(d.bytes()) / static_cast<uint32_t>(parts.size());
  const int each = static_cast<int>(i.n);
  for (const Text& part : parts) i.list.push_back(packs ? d.source(part, each) : d.destination(part, each));
  if (packs)
    i.d = d.destination(0, d.bytes());
  else
    i.a = d.source(1, d.bytes());
  return packs ? pack : unpack;
}

// Time passes with the launch's instructions.
Step clock(Warp& w, const Instruction& i) {
  const uint64_t now = w.block->launch->instructions * options.clock_step;
  for_lanes(w, [&](int l) { std::memcpy(w.at<uint8_t>(i.d) + static_cast<size_t>(l) * i.n, &now, i.n); });
  return Step::kNext;
}

template <class T>
Step selp(Warp& w, const Instruction& i) {
  T* const d = w.at<T>(i.d);
  const T *const a = w.at<T>(i.a), *const b = w.at<T>(i.b);
  const uint32_t p = w.predicate(i.c);
  for_lanes(w, [=](int l) { d[l] = p >> l & 1 ? a[l] : b[l]; });
  return Step::kNext;
}

}  // namespace

Handler decode_mov(Decoder& d) {
  Instruction& i = *d.now;
  if (d.operand(0)[0] == '{' || d.operand(1)[0] == '{') return decode_vector(d, d.operand(1)[0] == '{');
  i.d = d.destination(0, d.bytes());
  if (is_clock(d.operand(1))) {
    i.n = static_cast<uint32_t>(d.bytes());
    return clock;
  }
  i.a = d.source(1, d.bytes());
  return mov_of(d.bytes());
}

Handler decode_selp(Decoder& d) {
  Instruction& i = *d.now;
  i.d = d.destination(0, d.bytes());
  i.a = d.source(1, d.bytes()), i.b = d.source(2, d.bytes()), i.c = d.source(3, 0);
  return d.bytes() == 8 ? selp<uint64_t> : d.bytes() == 4 ? selp<uint32_t> : d.bytes() == 2 ? selp<uint16_t> : nullptr;
}

// Caches are not modelled: a policy is a number that nobody looks at.
Handler decode_createpolicy(Decoder& d) {
  d.now->d = d.destination(0, 8), d.now->a = d.constant(8, 0);
  d.now->reads.push_back(d.now->a);
  return mov<uint64_t>;
}

}  // namespace hgfast::ptx
