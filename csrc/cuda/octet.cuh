// Eight consecutive elements of a row: what one thread of a BatchNorm kernel works on, and one byte of ReLU's mask.
#pragma once

#include "cuda/pack.cuh"

namespace hgfast::cuda {

constexpr int kOctet = 8;

// The type that T's arithmetic is done in.
template <class T>
using Scalar = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
HG_DEV Scalar<T> to_scalar(T v) {
  if constexpr (std::is_same_v<T, double>)
    return v;
  else
    return to_float(v);
}

template <class T>
HG_DEV T from_scalar(Scalar<T> v) {
  if constexpr (std::is_same_v<T, double>)
    return v;
  else
    return from_float<T>(v);
}

template <class T>
struct Octet {
  Scalar<T> v[kOctet];
};

// May rows of `run` elements at these addresses be accessed in whole octets, 16 bytes at a time? Null is no obstacle.
template <class T, class... Pointers>
bool can_use_packs(int64_t run, Pointers... pointers) {
  return run % kOctet == 0 && can_pack<T>(run, pointers...);
}

// Eight elements as they lie in memory.
template <class T>
struct RawOctet {
  static constexpr int kWidth = kPackWidth<T>;
  Pack<T, kWidth> part[kOctet / kWidth];
};

// The first `count` elements (0 in place of the others); packed: all 8 of them, from a 16-byte boundary.
template <class T>
HG_DEV RawOctet<T> load_raw(const T* source, int count, bool packed) {
  constexpr int kWidth = kPackWidth<T>;
  RawOctet<T> raw;
  if (packed) {
#pragma unroll
    for (int part = 0; part < kOctet / kWidth; ++part)
      raw.part[part] = reinterpret_cast<const Pack<T, kWidth>*>(source)[part];
  } else {
#pragma unroll
    for (int k = 0; k < kOctet; ++k) raw.part[k / kWidth].v[k % kWidth] = k < count ? source[k] : T(0.f);
  }
  return raw;
}

template <class T>
HG_DEV Octet<T> expand(const RawOctet<T>& raw) {
  constexpr int kWidth = kPackWidth<T>;
  Octet<T> result;
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {  // by words, or the compiler keeps a register for each half
    Pack<uint32_t, 4> words;
    memcpy(&words, &raw, sizeof(words));
#pragma unroll
    for (int k = 0; k < kOctet; k += 2) {
      result.v[k] = __uint_as_float(words.v[k / 2] << 16);
      result.v[k + 1] = __uint_as_float(words.v[k / 2] & 0xffff0000u);
    }
  } else {
#pragma unroll
    for (int k = 0; k < kOctet; ++k) result.v[k] = to_scalar(raw.part[k / kWidth].v[k % kWidth]);
  }
  return result;
}

template <class T>
HG_DEV Octet<T> load_octet(const T* source, int count, bool packed) {
  return expand(load_raw(source, count, packed));
}

template <class T>
HG_DEV void store_octet(T* target, const Octet<T>& octet, int count, bool packed) {
  constexpr int kWidth = kPackWidth<T>;
  if (packed) {
#pragma unroll
    for (int part = 0; part < kOctet / kWidth; ++part) {
      Pack<T, kWidth> pack;
#pragma unroll
      for (int k = 0; k < kWidth; ++k) pack.v[k] = from_scalar<T>(octet.v[part * kWidth + k]);
      reinterpret_cast<Pack<T, kWidth>*>(target)[part] = pack;
    }
  } else {
#pragma unroll
    for (int k = 0; k < kOctet; ++k)
      if (k < count) target[k] = from_scalar<T>(octet.v[k]);
  }
}

}  // namespace hgfast::cuda
