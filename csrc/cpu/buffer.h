// Scratch memory of a kernel. (Not std::vector: its functions would be shared by the variants for the instruction
// sets.)
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
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

  static constexpr size_t kAlignment = 64;

 private:
  T* data_ = nullptr;
  int64_t size_ = 0;
};

// Parts of one buffer that each calling thread keeps from call to call: malloc would give it back to the system and get
// it page by page in the next one (measured for 47 MB: 16 ms instead of 5). Parts last until the next Workspace.
class Workspace {
 public:
  // The sizes, in floats, of all parts; take() gives them in this order.
  Workspace(std::initializer_list<int64_t> sizes) {
    int64_t total = 0;
    for (const int64_t size : sizes) total += padded(size);
    static thread_local Buffer<float> kept;
    next_ = kept.reserve(total);
  }
  float* take(int64_t size) {
    float* part = next_;
    next_ += padded(size);
    return part;
  }

 private:
  static int64_t padded(int64_t size) {
    constexpr int64_t kLine = Buffer<float>::kAlignment / sizeof(float);
    return (size + kLine - 1) / kLine * kLine;
  }

  float* next_;
};

}  // namespace hgfast::cpu::HGFAST_ISA
