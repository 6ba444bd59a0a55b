// parallel_for over the OpenMP runtime that torch has loaded (runtime/threads.cpp says why).
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/ops.h"

namespace hgfast::cpu {

// Runs body(context, slot) on up to `threads` threads at once; slot < threads is unique to each of them.
void run_on_threads(int threads, void (*body)(void* context, int slot), void* context);

// One after the other, an index in [0, chunks) that nobody else got, or -1 when they are used up.
class ChunkCounter {
 public:
  explicit ChunkCounter(int64_t chunks) : chunks_(chunks) {}
  int64_t next() {
    const int64_t chunk = __atomic_fetch_add(&next_, 1, __ATOMIC_RELAXED);
    return chunk < chunks_ ? chunk : -1;
  }

 private:
  int64_t next_ = 0;
  const int64_t chunks_;
};

// f(begin, end, slot) over consecutive ranges of [0, total), each of `grain` items (the last may be shorter), on `exec`
// threads. Chunks are claimed as threads become free, so f's result must not depend on which thread runs which chunk.
template <class F>
void parallel_for(int64_t total, int64_t grain, Exec exec, const F& f) {
  if (total <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t chunks = (total + grain - 1) / grain;
  const int threads = static_cast<int>(std::min<int64_t>(std::max<Exec>(exec, 1), chunks));
  if (threads == 1) return f(int64_t{0}, total, 0);

  struct Context {
    const F& f;
    int64_t total, grain;
    ChunkCounter chunks;
  } context{f, total, grain, ChunkCounter(chunks)};
  run_on_threads(
      threads,
      [](void* raw, int slot) {
        auto& c = *static_cast<Context*>(raw);
        for (int64_t chunk; (chunk = c.chunks.next()) >= 0;)
          c.f(chunk * c.grain, std::min(c.total, (chunk + 1) * c.grain), slot);
      },
      &context);
}

}  // namespace hgfast::cpu
