// Vector clocks: who has seen what of whom, within one block. Used by the check build only.
//
// An actor is a thread, or an agent that touches shared memory on its own: the copies that report to one mbarrier, the
// tensor core of a warp, the bulk stores of a warp. Event e of actor a happened before "now" of actor b if and
// only if row(b)[a] >= clock of e.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hgfast::emu {

using Clock = uint32_t;
using ClockRow = std::vector<Clock>;

class Clocks {
 public:
  static constexpr int kMaxMbarriers = 64, kMaxWarps = 32;

  // A new block: nobody has seen anything of the others.
  void reset(int threads);

  int mbarrier_actor(int index) const { return threads_ + index; }
  int tensor_core(int warp) const { return threads_ + kMaxMbarriers + warp; }
  int store_engine(int warp) const { return tensor_core(warp) + kMaxWarps; }
  int width() const { return width_; }

  Clock* row(int actor) { return &rows_[static_cast<size_t>(actor) * width_]; }
  Clock now(int actor) { return row(actor)[actor]; }
  bool seen(int observer, int actor, Clock clock) { return observer == actor || row(observer)[actor] >= clock; }
  // The actor's later events are not covered by what others learnt so far.
  Clock tick(int actor);
  void join(Clock* target, const Clock* source) const;
  void join(int actor, const ClockRow& source) { join(row(actor), source.data()); }
  // The observer sees the actor's events up to that clock, and nothing that the actor knows of others.
  void learn(int observer, int actor, Clock clock) {
    Clock& known = row(observer)[actor];
    if (known < clock) known = clock;
  }
  void publish(ClockRow& target, int actor);
  ClockRow copy(int actor) { return ClockRow(row(actor), row(actor) + width_); }

 private:
  int threads_ = 0, width_ = 0;
  std::vector<Clock> rows_;
};

}  // namespace hgfast::emu
