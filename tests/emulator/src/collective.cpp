// Operations of a whole warp: lanes wait for one another, the last one does the work for all.
#include <cstring>

#include "engine.h"

namespace hgfast::emu {

namespace {

void check_call(const Warp& warp, const Lane& me, const char* what, Site site) {
  if (!(me.mask >> me.lane & 1))
    fail("%s at %s: the calling lane is not in its mask 0x%08x", what, where(site).c_str(), me.mask);
  if (me.convergence == Convergence::kSameLine && warp.live != ~0u)
    fail("%s at %s needs all 32 lanes, the live ones are 0x%08x", what, where(site).c_str(), warp.live);
  if (me.mask & warp.exists & ~warp.live)
    fail("%s at %s: mask 0x%08x names lanes that have exited, live ones are 0x%08x", what, where(site).c_str(), me.mask,
         warp.live);
  if (me.mask != ~0u && (me.mask & ~warp.exists))
    fail("%s at %s: mask 0x%08x names lanes that the block does not have", what, where(site).c_str(), me.mask);
}

bool agree(const Lane& a, const Lane& b) {
  if (a.body != b.body || a.mask != b.mask) return false;
  const bool same_line = a.site.line == b.site.line && !std::strcmp(a.site.file, b.site.file);
  return a.convergence == Convergence::kAnyLine || same_line;
}

void run_for_all(Block& block, Warp& warp, const Lane& me, uint32_t lanes, const char* what) {
  void* args[kWarpLanes] = {};
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const Lane& other = block.lanes[me.warp * kWarpLanes + __builtin_ctz(rest)];
    if (!agree(me, other))
      fail("divergent warp: this lane is in %s (mask 0x%08x) at %s, lane %d in %s (mask 0x%08x) at %s", what, me.mask,
           where(me.site).c_str(), other.lane, other.waits_for, other.mask, where(other.site).c_str());
    args[other.lane] = other.arg;
  }
  me.body(args, lanes);
  warp.waiting &= ~lanes;
  block.make_ready(me.warp, lanes);
}

struct VoteArg {
  bool predicate;
  uint32_t result;
};

void vote_body(void* const* args, uint32_t mask) {
  uint32_t result = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    if (static_cast<VoteArg*>(args[lane])->predicate) result |= 1u << lane;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) static_cast<VoteArg*>(args[__builtin_ctz(rest)])->result = result;
}

// __syncwarp orders memory among its lanes; shuffles and votes do not.
void sync_body(void* const*, uint32_t mask) {
  if (!engine.checking) return;
  Clocks& clocks = engine.block->clocks;
  const int first = engine.lane->warp * kWarpLanes;
  ClockRow all;
  for (uint32_t rest = mask; rest; rest &= rest - 1) clocks.publish(all, first + __builtin_ctz(rest));
  for (uint32_t rest = mask; rest; rest &= rest - 1) clocks.join(first + __builtin_ctz(rest), all);
}

}  // namespace

void warp_collective(CollectiveBody body, uint32_t mask, void* arg, Convergence convergence, const char* what,
                     Site site) {
  Block& block = *engine.block;
  Lane& me = *engine.lane;
  Warp& warp = block.warps[me.warp];
  me.body = body, me.mask = mask, me.arg = arg, me.convergence = convergence, me.site = site;
  me.call = __builtin_return_address(0);
  check_call(warp, me, what, site);
  warp.waiting |= 1u << me.lane;
  const uint32_t needed = mask & warp.live;
  me.waits_for = what;
  if ((warp.waiting & needed) == needed) run_for_all(block, warp, me, needed, what);
  suspend(what, site);
}

void sync_warp(uint32_t mask, Site site) {
  warp_collective(&sync_body, mask, nullptr, Convergence::kAnyLine, "__syncwarp", site);
}

uint32_t ballot(uint32_t mask, bool predicate, Site site) {
  VoteArg arg{predicate, 0};
  warp_collective(&vote_body, mask, &arg, Convergence::kAnyLine, "vote", site);
  return arg.result;
}

}  // namespace hgfast::emu
