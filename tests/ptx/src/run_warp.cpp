// A warp's instructions. Lanes that take different branches become groups of their own: the one that is furthest behind
// runs, until it comes where another one is; groups at the same place become one again.
#include <algorithm>

#include "schedule.h"
#include "wgmma.h"

namespace hgfast::ptx {

namespace {

constexpr size_t kNone = ~size_t{0};

class Runner {
 public:
  Runner(Warp& w, uint64_t budget)
      : w_(w), launch_(*w.block->launch), code_(launch_.entry.code.data()), budget_(budget) {}

  Turn run() {
    for (LaneGroup& group : w_.groups) group.polls = false;
    while (executed_ < budget_) {
      if (w_.ended()) return Turn::kEnded;
      join();
      const size_t next = choose();
      if (next == kNone) return Turn::kPolls;
      if (!run_group(next)) return Turn::kWaits;
    }
    return w_.ended() ? Turn::kEnded : Turn::kUsedUp;
  }

  ~Runner() { launch_.instructions += executed_; }

 private:
  // Makes one group of those at the same place.
  void join() {
    auto& groups = w_.groups;
    if (groups.size() > 1) {
      for (size_t a = 0; a < groups.size(); ++a)
        for (size_t b = a + 1; b < groups.size(); ++b)
          if (groups[a].pc == groups[b].pc && groups[b].mask) {
            groups[a].mask |= groups[b].mask, groups[b].mask = 0;
            groups[a].waits = groups[a].polls = false;
          }
    }
    groups.erase(std::remove_if(groups.begin(), groups.end(), [](const LaneGroup& g) { return !g.mask; }),
                 groups.end());
  }

  // The group to run: none if all that could poll.
  size_t choose() {
    size_t best = kNone;
    bool polls = false;
    const auto& groups = w_.groups;
    for (size_t g = 0; g < groups.size(); ++g) {
      polls |= groups[g].polls;
      if (groups[g].polls || groups[g].waits) continue;
      if (best == kNone || groups[g].pc < groups[best].pc) best = g;
    }
    if (best == kNone && !polls) {
      w_.pc = groups[0].pc;
      fail(w_, "the lanes of the warp wait for each other: an instruction for all of them in divergent code");
    }
    return best;
  }

  // Runs a group until it yields, splits, or may meet another one. False if the warp waits.
  bool run_group(size_t index) {
    uint32_t meets = ~0u;  // the next place where another group is
    for (const LaneGroup& other : w_.groups)
      if (other.pc > w_.groups[index].pc) meets = std::min(meets, other.pc);
    while (executed_ < budget_) {
      LaneGroup& group = w_.groups[index];
      const Instruction& i = code_[group.pc];
      const uint32_t lanes = i.guard ? group.mask & (w_.predicate(i.guard) ^ i.guard_flip) : group.mask;
      w_.pc = group.pc;
      ++i.runs;
      ++executed_;
      if (i.jump != Jump::kNone && lanes) {
        if (!jump(index, i, lanes)) return true;
      } else if (!lanes) {
        ++group.pc;
      } else {
        if (!together(group, i, lanes)) return true;
        w_.active = lanes;
        if (!w_.products.in_flight.empty()) check_products_in_flight(w_, i);
        const Step step = i.run(w_, i);
        if (step != Step::kNext) return after(group, step, lanes);
        ++group.pc;
      }
      if (w_.groups[index].pc >= meets) return true;
    }
    return true;
  }

  // Whether the lanes that the instruction needs have come; if not, the group waits for them.
  bool together(LaneGroup& group, const Instruction& i, uint32_t lanes) {
    if (i.together == Together::kAny) return true;
    uint32_t needed = w_.exists;
    if (i.together == Together::kMembers) {
      needed = w_.at<uint32_t>(i.members)[__builtin_ctz(lanes)];
      if (lanes & ~needed) fail(w_, __builtin_ctz(lanes & ~needed), "the lane is not in its own member mask");
    }
    if (needed & w_.live & ~group.mask) {
      group.waits = true;
      return false;
    }
    needed = i.together == Together::kWarp ? kAllLanes : needed & w_.live;
    if (i.together != Together::kAll && needed & ~lanes)
      fail(w_, __builtin_ctz(needed & ~lanes), "the lane does not take part in an instruction that needs it");
    return true;
  }

  // Takes a branch; false if the group splits or others may be at the target.
  bool jump(size_t index, const Instruction& i, uint32_t lanes) {
    LaneGroup& group = w_.groups[index];
    if (i.jump == Jump::kBranch && lanes == group.mask) {
      group.pc = i.target;
      return w_.groups.size() == 1;
    }
    ++group.pc;
    group.mask &= ~lanes;
    if (i.jump == Jump::kBranch) {
      w_.groups.push_back({i.target, lanes});
      return false;
    }
    const auto& table = launch_.entry.tables[i.target];
    for (uint32_t left = lanes; left; left &= left - 1) {
      const int lane = __builtin_ctz(left);
      const uint32_t choice = w_.at<uint32_t>(i.a)[lane];
      if (choice >= table.size()) fail(w_, lane, "brx.idx: there is no target " + std::to_string(choice));
      w_.groups.push_back({table[choice], 1u << lane});
    }
    return false;
  }

  // What follows an instruction that is not simply followed by the next; false if the warp waits.
  bool after(LaneGroup& group, Step step, uint32_t lanes) {
    if (step != Step::kRetry) ++group.pc;
    switch (step) {
      case Step::kExit:
        group.mask &= ~lanes;
        for (LaneGroup& other : w_.groups) other.waits = false;  // who ended is not waited for
        return true;
      case Step::kWait:
        if (!w_.waits()) return false;
        w_.waits = nullptr;
        return true;
      default:
        group.polls = true;
        return true;
    }
  }

  Warp& w_;
  Launch& launch_;
  const Instruction* const code_;
  const uint64_t budget_;
  uint64_t executed_ = 0;
};

}  // namespace

Turn run_warp(Warp& w, uint64_t budget) { return Runner(w, budget).run(); }

}  // namespace hgfast::ptx
