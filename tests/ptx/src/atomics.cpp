// atom and red (PTX ISA, "Parallel Synchronization and Communication"). Lanes take their turns in order.
#include "addresses.h"
#include "decoder.h"
#include "families.h"

namespace hgfast::ptx {

namespace {

enum Flag : uint8_t { kInShared = 1, kGeneric = 2 };

struct Add {
  template <class T>
  static T f(T old, T b) {
    return static_cast<T>(old + b);
  }
};
struct Exchange {
  template <class T>
  static T f(T, T b) {
    return b;
  }
};
struct Min {
  template <class T>
  static T f(T old, T b) {
    return old < b ? old : b;
  }
};
struct Max {
  template <class T>
  static T f(T old, T b) {
    return old > b ? old : b;
  }
};
struct And {
  template <class T>
  static T f(T old, T b) {
    return old & b;
  }
};
struct Or {
  template <class T>
  static T f(T old, T b) {
    return old | b;
  }
};
struct Xor {
  template <class T>
  static T f(T old, T b) {
    return old ^ b;
  }
};
struct Increment {
  template <class T>
  static T f(T old, T b) {
    return old >= b ? 0 : old + 1;
  }
};
struct Decrement {
  template <class T>
  static T f(T old, T b) {
    return old == 0 || old > b ? b : old - 1;
  }
};

template <class T>
T* cell(const Warp& w, const Instruction& i, int lane) {
  const uint64_t address = w.address(i.a, i.narrow, i.offset, lane);
  if (address % sizeof(T)) fail(w, lane, "atomic: address " + hex(address) + " is not aligned");
  if (i.flags & kInShared) return reinterpret_cast<T*>(shared_at(w, lane, address, sizeof(T)));
  if (i.flags & kGeneric) return reinterpret_cast<T*>(generic_at(w, lane, address, sizeof(T), true));
  return reinterpret_cast<T*>(global_at(w, lane, address, sizeof(T), true));
}

template <class T, class Operation>
Step atomic(Warp& w, const Instruction& i) {
  ++stats.atomics;
  for_lanes(w, [&](int l) {
    T* const place = cell<T>(w, i, l);
    const T old = *place;
    *place = Operation::f(old, w.at<T>(i.b)[l]);
    w.at<T>(i.d)[l] = old;
  });
  return Step::kNext;
}

template <class T>
Step compare_and_swap(Warp& w, const Instruction& i) {
  ++stats.atomics;
  for_lanes(w, [&](int l) {
    T* const place = cell<T>(w, i, l);
    const T old = *place;
    if (old == w.at<T>(i.b)[l]) *place = w.at<T>(i.c)[l];
    w.at<T>(i.d)[l] = old;
  });
  return Step::kNext;
}

template <class T>
Handler atomic_of(const Text& what) {
  if (what == "add") return atomic<T, Add>;
  if (what == "exch") return atomic<T, Exchange>;
  if (what == "min") return atomic<T, Min>;
  if (what == "max") return atomic<T, Max>;
  if constexpr (std::is_integral_v<T>) {
    if (what == "and") return atomic<T, And>;
    if (what == "or") return atomic<T, Or>;
    if (what == "xor") return atomic<T, Xor>;
    if (what == "inc") return atomic<T, Increment>;
    if (what == "dec") return atomic<T, Decrement>;
    if (what == "cas") return compare_and_swap<T>;
  }
  return nullptr;
}

Handler atomic_of(const Text& what, const Text& type) {
  if (type == "f32") return atomic_of<float>(what);
  if (type == "f64") return atomic_of<double>(what);
  if (type == "s32") return atomic_of<int32_t>(what);
  if (type == "s64") return atomic_of<int64_t>(what);
  if (type == "u32" || type == "b32") return atomic_of<uint32_t>(what);
  return type == "u64" || type == "b64" ? atomic_of<uint64_t>(what) : nullptr;
}

}  // namespace

Handler decode_atomic(Decoder& d) {
  Instruction& i = *d.now;
  const size_t address = d.opcode.name == "atom" ? 1 : 0;  // red returns nothing
  i.d = address ? d.destination(0, d.bytes()) : d.destination("_", d.bytes());
  d.set_address(address);
  const bool shared = d.has("shared") || d.has("shared::cta") || d.has("shared::cluster");
  i.flags = static_cast<uint8_t>(shared ? kInShared : d.has("global") ? 0 : kGeneric);
  const Text what = d.opcode.one_of("add exch min max and or xor inc dec cas");
  i.b = d.source(address + 1, d.bytes());
  if (what == "cas") i.c = d.source(address + 2, d.bytes());
  return atomic_of(what, d.type());
}

}  // namespace hgfast::ptx
