// Numbers to codes and back, and maxima of codes (common/conv_int8.h): each reads and writes its tensors once, and is
// bound by memory.
#include "cpu/codes.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int64_t kGrain = 1 << 14;

template <class T>
void encode_all(const Quantise& q, Exec exec) {
  const Encoder encode(q.of_codes);
  const T* x = static_cast<const T*>(q.x);
  parallel_for(q.count, kGrain, exec, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i += kConvLanes)
      store_codes(q.codes + i, encode(load_lanes(x + i, end - i)), end - i);
  });
}

template <class T>
void decode_all(const Dequantise& d, Exec exec) {
  const Decoder decode(d.of_codes);
  T* numbers = static_cast<T*>(d.numbers);
  parallel_for(d.count, kGrain, exec, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i += kConvLanes)
      store_lanes(numbers + i, decode(load_codes(d.codes + i, end - i)), end - i);
  });
}

VecB largest(VecB a, VecB b) { return a > b ? a : b; }

VecB some_codes(const uint8_t* p, int64_t lanes) {
  VecB v = {};
  std::memcpy(&v, p, lanes >= kConvLanes ? kConvLanes : lanes);
  return v;
}

}  // namespace

void quantise(const Quantise& q, Exec exec) {
  q.dtype == DType::kBFloat16 ? encode_all<BFloat16>(q, exec) : encode_all<float>(q, exec);
}

void dequantise(const Dequantise& d, Exec exec) {
  d.dtype == DType::kBFloat16 ? decode_all<BFloat16>(d, exec) : decode_all<float>(d, exec);
}

void max_pool_codes(const MaxPoolCodes& pool, Exec exec) {
  const int64_t p = pool.h / 2, q = pool.w / 2, c = pool.c, row = pool.w * c;
  parallel_for(pool.n * p, 1, exec, [&](int64_t begin, int64_t end, int) {
    for (int64_t line = begin; line < end; ++line)
      for (int64_t j = 0; j < q; ++j) {
        const uint8_t* x = pool.x + (line / p * pool.h + 2 * (line % p)) * row + 2 * j * c;
        uint8_t* y = pool.y + (line * q + j) * c;
        for (int64_t i = 0; i < c; i += kConvLanes) {
          const auto at = [&](int64_t offset) { return some_codes(x + offset + i, c - i); };
          store_codes(y + i, largest(largest(at(0), at(c)), largest(at(row), at(row + c))), c - i);
        }
      }
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
