// Scratch memory of a kernel. (Not std::vector: its functions would be shared by the variants for the instruction
// sets.)
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace hgfast::cpu::HGFAST_ISA {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // At least `size` elements of unknown value, on a cache line's boundary: no vector store meets two lines.
  T* reserve(int64_t size) {
    if (size > size_) {
      std::free(data_);
      size_ = 0;
      data_ = static_cast<T*>(
          std::aligned_alloc(kAlignment, (size * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment));
      if (data_ == nullptr) throw std::bad_alloc();
      size_ = size;
    }
    return data_;
  }
  // `size` zeros.
  T* zeros(int64_t size) {
    std::memset(reserve(size), 0, size * sizeof(T));
    return data_;
  }
  T* data() { return data_; }

 private:
  static constexpr size_t kAlignment = 64;

  T* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace hgfast::cpu::HGFAST_ISA
