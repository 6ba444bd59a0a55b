// parallel_for over the OpenMP runtime that torch has loaded (runtime/threads.cpp says why).
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/ops.h"

namespace hgfast::cpu {

// Runs body(context, slot) on up to `threads` threads at once; slot < threads is unique to each of them, and the same
// for a thread in region after region where the OpenMP runtime numbers its threads.
void run_on_threads(int threads, void (*body)(void* context, int slot), void* context);

// Which way a thread goes through its part of a loop. Backwards: what the loop before this one met last comes first,
// while it may still be in that thread's cache.
enum class Order { kForwards, kBackwards };

// One after the other, an index in [begin, end) that nobody else got, or -1 when they are used up.
class alignas(64) ChunkCounter {
 public:
  void reset(int64_t begin, int64_t end) { next_ = begin_ = begin, end_ = end; }
  [[gnu::always_inline]] int64_t next(Order order) {  // no code that the linker merges across instruction sets
    const int64_t chunk = __atomic_fetch_add(&next_, 1, __ATOMIC_RELAXED);
    if (chunk >= end_) return -1;
    return order == Order::kForwards ? chunk : begin_ + end_ - 1 - chunk;
  }

 private:
  int64_t next_, begin_, end_;
};

// The chunks of a loop, an equal run for each thread. Each starts with its own one, the same part of an image in layer
// after layer, so that what it reads is what it wrote, in its own cache; who is done early helps the others.
class ChunkRuns {
 public:
  ChunkRuns(int64_t chunks, int threads) : runs_(std::min(threads, kMost)) {
    for (int i = 0; i < runs_; ++i) counters_[i].reset(chunks * i / runs_, chunks * (i + 1) / runs_);
  }

  template <class F>
  void claim(int slot, Order order, const F& f) {
    for (int i = 0; i < runs_; ++i)
      for (int64_t chunk; (chunk = counters_[(slot + i) % runs_].next(order)) >= 0;) f(chunk);
  }

 private:
  static constexpr int kMost = 64;

  const int runs_;
  ChunkCounter counters_[kMost];
};

// f(begin, end, slot) over consecutive ranges of [0, total), each of `grain` items (the last may be shorter), on `exec`
// threads. Which thread runs a chunk depends on their speed, so f's result must not depend on which thread runs which
// chunk.
template <Order kOrder = Order::kForwards, class F>
void parallel_for(int64_t total, int64_t grain, Exec exec, const F& f) {
  if (total <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t chunks = (total + grain - 1) / grain;
  const int threads = static_cast<int>(std::min<int64_t>(std::max<Exec>(exec, 1), chunks));
  if (threads == 1 && kOrder == Order::kForwards) return f(int64_t{0}, total, 0);

  struct Context {
    const F& f;
    int64_t total, grain;
    ChunkRuns runs;
  } context{f, total, grain, ChunkRuns(chunks, threads)};
  const auto body = [](void* raw, int slot) {
    auto& c = *static_cast<Context*>(raw);
    c.runs.claim(slot, kOrder,
                 [&](int64_t chunk) { c.f(chunk * c.grain, std::min(c.total, (chunk + 1) * c.grain), slot); });
  };
  if (threads == 1)
    body(&context, 0);
  else
    run_on_threads(threads, body, &context);
}

}  // namespace hgfast::cpu
