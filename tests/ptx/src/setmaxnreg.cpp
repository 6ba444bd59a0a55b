// setmaxnreg (PTX ISA, "setmaxnreg"): a warpgroup gives registers back or takes them. The block's account starts with
// what it is launched with: 65,536 registers shared out among its threads in steps of 8, unless a launch says less.
#include "decoder.h"
#include "families.h"
#include "machine.h"

namespace hgfast::ptx {

namespace {

Step change(Warp& w, const Instruction& i) {
  const int64_t wish = i.offset, has = w.register_budget;
  if (i.flags == 1 && wish < has)
    fail(w, "setmaxnreg.inc to fewer registers than the warp has, " + std::to_string(has));
  if (i.flags == 0 && wish > has) fail(w, "setmaxnreg.dec to more registers than the warp has, " + std::to_string(has));
  int64_t& spare = w.block->spare_registers;
  const int64_t more = (wish - has) * kLanes;
  if (more > spare) return Step::kRetry;  // until others give theirs back; if nobody does, that is a deadlock
  spare -= more;
  w.register_budget = static_cast<uint32_t>(wish);
  return Step::kNext;
}

}  // namespace

Handler decode_setmaxnreg(Decoder& d) {
  Instruction& i = *d.now;
  i.together = Together::kWarp;
  i.offset = d.immediate(0), i.flags = d.has("inc");
  if (i.offset < 24 || i.offset > 256 || i.offset % 8) d.refuse("setmaxnreg takes a multiple of 8 in 24..256");
  return change;
}

}  // namespace hgfast::ptx
