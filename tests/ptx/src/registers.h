// Registers of a kernel while it is decoded: names in scopes, and values that are known when a warp starts.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "program.h"
#include "text.h"

namespace hgfast::ptx {

struct RegisterInfo {
  int bytes;  // of a lane; 0: a predicate
  bool preset;
  bool pinned = false;  // keeps its place for the whole kernel
};

// All registers by number; 0 is none.
class Registers {
 public:
  Registers() : infos_{{0, false}} {}

  Register add(int bytes) { return add_info({bytes, false}); }
  // A register with a value from the start; the same for the same value.
  Register preset(Preset::Kind kind, int bytes, uint64_t value);
  void pin(Register r) { infos_[r].pinned = true; }
  int bytes(Register r) const { return infos_[r].bytes; }

  // Gives every register its place in the register file, and rewrites the entry's code and presets accordingly.
  // Registers that never hold a value at the same time share one.
  void place(Entry& entry);

 private:
  Register add_info(RegisterInfo info) {
    infos_.push_back(info);
    return static_cast<Register>(infos_.size() - 1);
  }

  std::vector<RegisterInfo> infos_;
  std::vector<Preset> presets_;
  std::map<std::pair<int, std::pair<int, uint64_t>>, Register> known_;
};

// Bytes that a register takes in the file: 32 lanes, in whole cache lines.
constexpr uint32_t kSlot = 64;
inline uint32_t slot_bytes(int bytes) {
  return bytes ? (32u * static_cast<uint32_t>(bytes) + kSlot - 1) / kSlot * kSlot : kSlot;
}

// A brace's worth of declarations (PTX ISA, "Scoping": inline assembly repeats names in braces).
struct Scope {
  int parent = -1;
  std::unordered_map<Text, Register> names;
  std::unordered_map<Text, std::pair<int, int>> ranges;  // ".reg .b32 %r<9>": prefix -> bytes, count
  std::unordered_map<Text, uint32_t> labels;
};

}  // namespace hgfast::ptx
