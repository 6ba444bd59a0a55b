// Branches, ends, and what does nothing here (PTX ISA, "Control Flow Instructions").
#include "decoder.h"
#include "families.h"
#include "machine.h"

namespace hgfast::ptx {

namespace {

Step nothing(Warp&, const Instruction&) { return Step::kNext; }
Step pause(Warp&, const Instruction&) { return Step::kYield; }
Step end_lanes(Warp& w, const Instruction&) {
  w.live &= ~w.active;
  return Step::kExit;
}
Step trap(Warp& w, const Instruction&) { fail(w, w.first_lane(), "trap"); }

}  // namespace

// The warp's own loop takes branches (run_warp.cpp).
Handler decode_branch(Decoder& d) {
  d.branch_to(d.operand(0));
  return nothing;
}
Handler decode_indexed_branch(Decoder& d) {
  d.now->a = d.source(0, 4);
  d.branch_through(d.operand(1));
  return nothing;
}
Handler decode_exit(Decoder&) { return end_lanes; }
Handler decode_trap(Decoder&) { return trap; }
// Fences order what is in order here anyway; the host emulator checks that they are there.
Handler decode_nothing(Decoder&) { return nothing; }
Handler decode_pause(Decoder&) { return pause; }

}  // namespace hgfast::ptx
