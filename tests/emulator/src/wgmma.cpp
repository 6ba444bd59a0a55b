// wgmma: each warp computes its 16 rows when it waits for them (or at once, by the schedule).
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "elements.h"
#include "emulator/ptx_wgmma.h"
#include "engine.h"
#include "shared_shadow.h"

namespace hgfast::emu {

namespace {

constexpr int kK = 16, kRowsPerWarp = 16, kWarpgroupWarps = 4;

// One wgmma as a warp sees it.
struct Product {
  WgmmaArg shape;
  float* d[kWarpLanes];
  const uint32_t* a[kWarpLanes];  // A's registers are read when the product runs: nobody may change them before
  int warp;
  Clock issued = 0;
};

// A K-major operand in shared memory, from its descriptor (PTX ISA, "Matrix descriptor" and "Swizzling modes").
struct Operand {
  uint32_t start, leading, stride, span;

  explicit Operand(uint64_t descriptor)
      : start((descriptor & 0x3fff) << 4),
        leading((descriptor >> 16 & 0x3fff) << 4),
        stride((descriptor >> 32 & 0x3fff) << 4) {
    constexpr uint32_t kSpans[4] = {0, 128, 64, 32};
    span = kSpans[descriptor >> 62];
    if (descriptor >> 49 & 7) fail("wgmma descriptor: a base offset is not emulated");
    if (span && start % (8 * span) >= span)
      fail("wgmma descriptor: start 0x%x is not within the first row of a %u-byte swizzle's repeat", start, span);
  }

  // Address of the 16-byte chunk (0 or 1) of a row.
  uint32_t chunk(int row, int index) const {
    const uint32_t group = start + row / 8 * stride;
    if (!span) return group + index * leading + row % 8 * 16;
    const uint32_t address = group + row % 8 * span + index * 16;
    return address ^ ((address >> 7 & (span / 16 - 1)) << 4);
  }
};

void check_rows(const Operand& operand, int first, int rows, const char* name) {
  const Block& block = *engine.block;
  for (int r = first; r < first + rows; ++r)
    for (int c = 0; c < 2; ++c)
      if (!block.shared.valid(operand.chunk(r, c), 16))
        fail("wgmma: row %d of operand %s is outside every shared array: %s", r, name,
             block.shared.describe(operand.chunk(r, c)).c_str());
}

void note_rows(const Operand& operand, int first, int rows, int agent, const void* pc) {
  Block& block = *engine.block;
  for (int r = first; r < first + rows; ++r)
    for (int c = 0; c < 2; ++c) block.shadow->note(block, {operand.chunk(r, c), 16, false, agent, pc, true});
}

template <Element kType>
void read_row(const Operand& operand, int row, float (&values)[kK]) {
  for (int c = 0; c < 2; ++c) {
    uint16_t bits[8];
    std::memcpy(bits, engine.block->shared.at(operand.chunk(row, c)), sizeof bits);
    for (int e = 0; e < 8; ++e) values[c * 8 + e] = value_of<kType>(bits[e]);
  }
}

template <Element kType>
void read_a(const Product& p, float (&a)[kRowsPerWarp][kK]) {
  if (!p.shape.a_registers) {
    const Operand operand(p.shape.a);
    for (int r = 0; r < kRowsPerWarp; ++r) read_row<kType>(operand, p.warp % kWarpgroupWarps * kRowsPerWarp + r, a[r]);
    return;
  }
  for (int lane = 0; lane < kWarpLanes; ++lane)
    for (int r = 0; r < 4; ++r)
      for (int e = 0; e < 2; ++e)
        a[lane / 4 + r % 2 * 8][lane % 4 * 2 + r / 2 * 8 + e] = element_of<kType>(p.a[lane][r], e);
}

template <Element kType>
void compute(const Product& p) {
  float a[kRowsPerWarp][kK];
  read_a<kType>(p, a);
  const Operand b(p.shape.b);
  for (int column = 0; column < p.shape.n; ++column) {
    float row[kK];
    read_row<kType>(b, column, row);
    for (int i = 0; i < kRowsPerWarp; ++i) {
      float sum = 0.0f;
      for (int k = 0; k < kK; ++k) sum += a[i][k] * row[k];
      float& d = p.d[i % 8 * 4 + column % 8 / 2][column / 8 * 4 + i / 8 * 2 + column % 2];
      d = p.shape.accumulate ? d + sum : sum;
    }
  }
}

void run(const Product& p) {
  p.shape.type == Element::kHalf ? compute<Element::kHalf>(p) : compute<Element::kBFloat16>(p);
}

// The tensor core knows what all lanes know: the instruction waits for the whole warp.
void note_operands(Product& p, const void* pc) {
  Block& block = *engine.block;
  const int agent = block.clocks.tensor_core(p.warp);
  for (int lane = 0; lane < kWarpLanes; ++lane)
    block.clocks.join(block.clocks.row(agent), block.clocks.row(p.warp * kWarpLanes + lane));
  p.issued = block.clocks.tick(agent);
  const int first = p.warp % kWarpgroupWarps * kRowsPerWarp;
  if (!p.shape.a_registers) note_rows(Operand(p.shape.a), first, kRowsPerWarp, agent, pc);
  note_rows(Operand(p.shape.b), 0, p.shape.n, agent, pc);
}

void check_product(const Block& block, const Product& p, const WgmmaArg& other, int lane) {
  if (other.a != p.shape.a || other.b != p.shape.b || other.accumulate != p.shape.accumulate)
    fail("wgmma: lanes 0 and %d of warp %d have different descriptors", lane, p.warp);
  const int last = p.warp / kWarpgroupWarps * kWarpgroupWarps + kWarpgroupWarps - 1;
  if (last >= block.warp_count) fail("wgmma in a block without a whole warpgroup at warp %d", p.warp);
}

void issue_body(void* const* args, uint32_t) {
  Block& block = *engine.block;
  auto product = std::make_shared<Product>();
  product->warp = engine.lane->warp;
  product->shape = *static_cast<WgmmaArg*>(args[0]);
  Warp& warp = block.warps[product->warp];
  if (!warp.fenced) fail("wgmma without a wgmma.fence since the last wait for all");
  ++engine.stats.wgmma;
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const auto& arg = *static_cast<WgmmaArg*>(args[lane]);
    check_product(block, *product, arg, lane);
    product->d[lane] = arg.d;
    product->a[lane] = arg.a_registers;
    auto& in_flight = block.lanes[product->warp * kWarpLanes + lane].accumulators;
    const char* begin = reinterpret_cast<const char*>(arg.d);
    in_flight.push_back({begin, begin + arg.n / 2 * sizeof(float), warp.products.group});
  }
  const WgmmaArg& shape = product->shape;
  if (!shape.a_registers)
    check_rows(Operand(shape.a), product->warp % kWarpgroupWarps * kRowsPerWarp, kRowsPerWarp, "A");
  check_rows(Operand(shape.b), 0, shape.n, "B");
  for (uint64_t part : {shape.a, shape.b, uint64_t(shape.n) * 4 + uint64_t(shape.type)})
    warp.product_log.push_back(part);
  if (engine.checking) note_operands(*product, block.lanes[product->warp * kWarpLanes].call);
  // Products run in order: none overtakes one that is put off.
  const bool overtakes = engine.schedule.async == Async::kMixed && !warp.products.pending.empty();
  const bool deferred = overtakes || defer_async();
  if (!deferred) run(*product);
  warp.products.add([product, deferred, &warp] {
    if (deferred) run(*product);
    warp.products_done = product->issued;
  });
}

void fence_body(void* const*, uint32_t) { engine.block->warps[engine.lane->warp].fenced = true; }

void commit_body(void* const*, uint32_t) { engine.block->warps[engine.lane->warp].products.commit(); }

void wait_body(void* const* args, uint32_t) {
  Block& block = *engine.block;
  const int w = engine.lane->warp, keep = *static_cast<int*>(args[0]);
  Warp& warp = block.warps[w];
  warp.products.wait(keep);
  if (!keep) warp.fenced = false;
  for (int lane = w * kWarpLanes; lane < (w + 1) * kWarpLanes; ++lane) {
    auto& in_flight = block.lanes[lane].accumulators;
    in_flight.erase(std::remove_if(in_flight.begin(), in_flight.end(),
                                   [&](const InFlight& d) { return d.group < warp.products.group - keep; }),
                    in_flight.end());
    if (engine.checking) block.clocks.learn(lane, block.clocks.tensor_core(w), warp.products_done);
  }
}

}  // namespace

void wgmma_fence(Site site) { aligned(&fence_body, nullptr, "wgmma.fence", site); }
void wgmma_commit(Site site) { aligned(&commit_body, nullptr, "wgmma.commit_group", site); }
void wgmma_wait(int pending_groups, Site site) { aligned(&wait_body, &pending_groups, "wgmma.wait_group", site); }
void wgmma(WgmmaArg& arg, Site site) { aligned(&issue_body, &arg, "wgmma.mma_async", site); }

}  // namespace hgfast::emu
