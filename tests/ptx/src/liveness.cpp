// Liveness by basic blocks, until nothing changes (any book on compilers). Each lane follows the program by itself, and
// instructions write active lanes only, so that divergence needs no care.
#include "liveness.h"

#include <algorithm>
#include <set>

namespace hgfast::ptx {

namespace {

using Bits = std::vector<uint64_t>;

bool test(const Bits& bits, Register r) { return bits[r / 64] >> (r % 64) & 1; }
void set(Bits& bits, Register r) { bits[r / 64] |= uint64_t{1} << (r % 64); }
template <class F>
void for_bits(const Bits& bits, const F& f) {
  for (size_t word = 0; word < bits.size(); ++word)
    for (uint64_t left = bits[word]; left; left &= left - 1)
      f(static_cast<Register>(64 * word + static_cast<size_t>(__builtin_ctzll(left))));
}

struct BasicBlock {
  uint32_t first, last;
  std::vector<size_t> next;
  Bits uses, kills, in, out;  // read before written here; written for certain; live at the beginning; at the end
};

std::vector<uint32_t> jumps(const Entry& entry, const Instruction& i) {
  if (i.jump == Jump::kBranch) return {i.target};
  return i.jump == Jump::kTable ? entry.tables[i.target] : std::vector<uint32_t>{};
}

std::vector<BasicBlock> basic_blocks(const Entry& entry) {
  std::set<uint32_t> starts = {0};
  for (uint32_t pc = 0; pc < entry.code.size(); ++pc) {
    if (entry.code[pc].jump == Jump::kNone) continue;
    for (uint32_t target : jumps(entry, entry.code[pc])) starts.insert(target);
    starts.insert(pc + 1);
  }
  std::vector<BasicBlock> blocks;
  for (auto start = starts.begin(); start != starts.end() && *start < entry.code.size(); ++start) {
    const uint32_t end =
        std::next(start) == starts.end() ? static_cast<uint32_t>(entry.code.size()) : *std::next(start);
    blocks.push_back({*start, end - 1, {}, {}, {}, {}, {}});
  }
  auto block_at = [&](uint32_t pc) {
    const auto after =
        std::upper_bound(blocks.begin(), blocks.end(), pc, [](uint32_t p, auto& b) { return p < b.first; });
    return static_cast<size_t>(after - blocks.begin()) - 1;
  };
  for (size_t b = 0; b < blocks.size(); ++b) {
    const Instruction& last = entry.code[blocks[b].last];
    for (uint32_t target : jumps(entry, last)) blocks[b].next.push_back(block_at(target));
    // An instruction that ends a kernel goes on as if it did not: that only makes stretches longer.
    const bool always_jumps = last.jump != Jump::kNone && !last.guard;
    if (!always_jumps && b + 1 < blocks.size()) blocks[b].next.push_back(b + 1);
  }
  return blocks;
}

void note_uses(const Entry& entry, BasicBlock& block, size_t words) {
  block.uses = block.kills = block.in = block.out = Bits(words);
  for (uint32_t pc = block.first; pc <= block.last; ++pc) {
    const Instruction& i = entry.code[pc];
    for (Register r : i.reads)
      if (!test(block.kills, r)) set(block.uses, r);
    for (Register r : i.writes) {
      if (!i.guard)
        set(block.kills, r);
      else if (!test(block.kills, r))  // lanes that skip the instruction keep the old value
        set(block.uses, r);
    }
  }
}

void solve(std::vector<BasicBlock>& blocks) {
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t b = blocks.size(); b-- > 0;) {
      BasicBlock& block = blocks[b];
      for (size_t word = 0; word < block.in.size(); ++word) {
        uint64_t out = 0;
        for (size_t next : block.next) out |= blocks[next].in[word];
        const uint64_t in = block.uses[word] | (out & ~block.kills[word]);
        changed |= in != block.in[word];
        block.out[word] = out, block.in[word] = in;
      }
    }
  }
}

}  // namespace

std::vector<Stretch> live_stretches(const Entry& entry, uint32_t registers) {
  std::vector<BasicBlock> blocks = basic_blocks(entry);
  for (BasicBlock& block : blocks) note_uses(entry, block, registers / 64 + 1);
  solve(blocks);
  std::vector<Stretch> stretches(registers);
  for (const BasicBlock& block : blocks) {
    for_bits(block.in, [&](Register r) { stretches[r].include(block.first); });
    for_bits(block.out, [&](Register r) { stretches[r].include(block.last); });
    for (uint32_t pc = block.first; pc <= block.last; ++pc)
      for (auto* list : {&entry.code[pc].reads, &entry.code[pc].writes})
        for (Register r : *list) stretches[r].include(pc);
  }
  return stretches;
}

}  // namespace hgfast::ptx
