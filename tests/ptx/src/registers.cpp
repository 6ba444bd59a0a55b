// Places registers: presets first, then the others by linear scan over the stretches in which they hold a value.
#include "registers.h"

#include <algorithm>

#include "liveness.h"

namespace hgfast::ptx {

Register Registers::preset(Preset::Kind kind, int bytes, uint64_t value) {
  if (bytes && bytes < 8) value &= (uint64_t{1} << (8 * bytes)) - 1;
  Register& r = known_[{kind, {bytes, value}}];
  if (!r) {
    r = add_info({bytes, true});
    presets_.push_back({kind, r, bytes, value});
  }
  return r;
}

namespace {

// Free places by size, and how far the file reaches.
class Places {
 public:
  explicit Places(uint32_t begin) : end_(begin) {}

  uint32_t take(uint32_t bytes) {
    std::vector<uint32_t>& list = free_[bytes];
    if (list.empty()) {
      end_ += bytes;
      return end_ - bytes;
    }
    const uint32_t place = list.back();
    list.pop_back();
    return place;
  }
  void give(uint32_t place, uint32_t bytes) { free_[bytes].push_back(place); }
  uint32_t end() const { return end_; }

 private:
  std::map<uint32_t, std::vector<uint32_t>> free_;
  uint32_t end_;
};

void rewrite(Instruction& i, const std::vector<uint32_t>& places) {
  for (Register* r : {&i.guard, &i.d, &i.d2, &i.a, &i.b, &i.c, &i.e, &i.members}) *r = places[*r];
  for (auto* list : {&i.list, &i.reads, &i.writes})
    for (Register& r : *list) r = places[r];
}

}  // namespace

void Registers::place(Entry& entry) {
  std::vector<uint32_t> places(infos_.size(), 0);
  uint32_t next = kSlot;  // 0 means no register
  for (Preset& preset : presets_) {
    places[preset.where] = next;
    preset.where = next;
    next += slot_bytes(preset.bytes);
  }
  entry.presets = presets_;
  entry.preset_bytes = next;

  std::vector<Stretch> stretches = live_stretches(entry, static_cast<uint32_t>(infos_.size()));
  for (Register r = 1; r < infos_.size(); ++r)
    if (infos_[r].pinned) stretches[r] = {0, static_cast<uint32_t>(entry.code.size())};
  std::vector<Register> order;
  for (Register r = 1; r < infos_.size(); ++r)
    if (!infos_[r].preset && !stretches[r].empty()) order.push_back(r);
  std::sort(order.begin(), order.end(),
            [&](Register a, Register b) { return stretches[a].first < stretches[b].first; });

  Places file(next);
  std::multimap<uint32_t, Register> held;  // by where the stretch ends
  for (Register r : order) {
    while (!held.empty() && held.begin()->first < stretches[r].first) {
      const Register done = held.begin()->second;
      file.give(places[done], slot_bytes(infos_[done].bytes));
      held.erase(held.begin());
    }
    places[r] = file.take(slot_bytes(infos_[r].bytes));
    held.emplace(stretches[r].last, r);
  }
  entry.register_bytes = file.end();
  for (Instruction& i : entry.code) rewrite(i, places);
}

}  // namespace hgfast::ptx
