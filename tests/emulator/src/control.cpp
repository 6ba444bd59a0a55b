// What tests/emulator/device.py calls to choose schedules and to read counts.
#include "engine.h"

using namespace hgfast::emu;

extern "C" {

__attribute__((visibility("default"))) void hgfast_emulator_schedule(int order, int async, uint64_t seed) {
  engine.schedule = {static_cast<Order>(order), static_cast<Async>(async), seed};
}

// Copies the counts in the order of Stats and sets them to zero; returns how many there are.
__attribute__((visibility("default"))) int hgfast_emulator_take_stats(uint64_t* counts) {
  static_assert(sizeof(Stats) % sizeof(uint64_t) == 0);
  const auto* values = reinterpret_cast<const uint64_t*>(&engine.stats);
  constexpr int kCount = sizeof(Stats) / sizeof(uint64_t);
  for (int i = 0; i < kCount; ++i) counts[i] = values[i];
  engine.stats = Stats{};
  return kCount;
}
}
