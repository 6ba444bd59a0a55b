#include "clocks.h"

#include <algorithm>

namespace hgfast::emu {

void Clocks::reset(int threads) {
  threads_ = threads;
  width_ = threads + kMaxMbarriers + 2 * kMaxWarps;
  rows_.assign(static_cast<size_t>(width_) * width_, 0);
  for (int actor = 0; actor < width_; ++actor) row(actor)[actor] = 1;
}

Clock Clocks::tick(int actor) { return ++row(actor)[actor]; }

void Clocks::join(Clock* target, const Clock* source) const {
  for (int i = 0; i < width_; ++i) target[i] = std::max(target[i], source[i]);
}

// What `actor` knows becomes part of `target`; its later events do not.
void Clocks::publish(ClockRow& target, int actor) {
  target.resize(width_, 0);
  join(target.data(), row(actor));
  tick(actor);
}

}  // namespace hgfast::emu
