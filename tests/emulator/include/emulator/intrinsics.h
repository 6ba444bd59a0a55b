// Twins of CUDA's device functions that the host headers lack: bits, arithmetic, caching hints, atomics, half math.
#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>

#include "emulator/runtime.h"

// ---- Bits and conversions
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(static_cast<unsigned>(bits)) : 32; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyintf(value)); }
inline int __float2int_rd(float value) { return static_cast<int>(std::floor(value)); }

// ---- Arithmetic. The approximate functions are exact here; glibc declares some of these names, so they are macros.
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __frsqrt_rn(float x) { return 1.0f / std::sqrt(x); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
#define __expf(x) ::expf(x)
#define __logf(x) ::logf(x)
#define __log2f(x) ::log2f(x)
#define __powf(x, y) ::powf(x, y)
#define __fdividef(a, b) ((a) / (b))

template <class A, class B, class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using C = std::common_type_t<A, B>;
  return static_cast<C>(b) < static_cast<C>(a) ? static_cast<C>(b) : static_cast<C>(a);
}
template <class A, class B, class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using C = std::common_type_t<A, B>;
  return static_cast<C>(a) < static_cast<C>(b) ? static_cast<C>(b) : static_cast<C>(a);
}

// ---- Half arithmetic that cuda_fp16.h defines for the device only (operators are left to the kernels' float math)
inline __half __hfma(__half a, __half b, __half c) {
  return __float2half_rn(std::fma(__half2float(a), __half2float(b), __half2float(c)));
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return __halves2half2(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}

// ---- Memory access with caching hints: plain accesses, so that the checker sees them
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldca(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T value) {
  *p = value;
}
template <class T>
void __stcg(T* p, T value) {
  *p = value;
}
inline void __threadfence() { hgfast::emu::thread_fence(); }
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) {}
inline size_t __cvta_generic_to_shared(const void* pointer) { return hgfast::emu::shared_address(pointer); }
[[noreturn]] inline void __trap() { hgfast::emu::fail("__trap()"); }

// ---- Atomics. One operating-system thread runs all, so that a plain update is atomic.
namespace hgfast::emu {
template <class T, class F>
__attribute__((no_sanitize("thread"))) T atomic_update(T* address, F function) {
  note_atomic(address, sizeof(T));
  const T old = *address;
  *address = function(old);
  return old;
}
}  // namespace hgfast::emu
#define HG_EMULATOR_ATOMIC(NAME, EXPRESSION)                                          \
  template <class T>                                                                  \
  T NAME(T* address, std::common_type_t<T> value) {                                   \
    return hgfast::emu::atomic_update(address, [=](T old) { return T(EXPRESSION); }); \
  }
HG_EMULATOR_ATOMIC(atomicAdd, old + value)
HG_EMULATOR_ATOMIC(atomicSub, old - value)
HG_EMULATOR_ATOMIC(atomicMin, value < old ? value : old)
HG_EMULATOR_ATOMIC(atomicMax, old < value ? value : old)
HG_EMULATOR_ATOMIC(atomicAnd, old& value)
HG_EMULATOR_ATOMIC(atomicOr, old | value)
HG_EMULATOR_ATOMIC(atomicXor, old ^ value)
HG_EMULATOR_ATOMIC(atomicExch, ((void)old, value))
HG_EMULATOR_ATOMIC(atomicInc, old >= value ? T(0) : T(old + 1))
HG_EMULATOR_ATOMIC(atomicDec, old == 0 || old > value ? value : T(old - 1))
#undef HG_EMULATOR_ATOMIC
template <class T>
T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> value) {
  return hgfast::emu::atomic_update(address, [=](T old) { return old == expected ? value : old; });
}
