#include "special_registers.h"

#include <vector>

#include "machine.h"

namespace hgfast::ptx {

namespace {

using Value = uint32_t (*)(const Warp&, int lane);

uint32_t thread(const Warp& w, int lane) { return w.id * kLanes + static_cast<uint32_t>(lane); }
const Launch& launch(const Warp& w) { return *w.block->launch; }
const Dim& index(const Warp& w) { return w.block->index; }
const Dim& cluster(const Warp& w) { return launch(w).cluster; }

constexpr uint32_t kProcessors = 4;  // %nsmid; nothing depends on where a block runs

struct Special {
  const char* name;
  Value value;
};
const Special kSpecials[] = {
    {"%tid.x", [](auto& w, int l) { return thread(w, l) % launch(w).block.x; }},
    {"%tid.y", [](auto& w, int l) { return thread(w, l) / launch(w).block.x % launch(w).block.y; }},
    {"%tid.z", [](auto& w, int l) { return thread(w, l) / launch(w).block.x / launch(w).block.y; }},
    {"%ntid.x", [](auto& w, int) { return launch(w).block.x; }},
    {"%ntid.y", [](auto& w, int) { return launch(w).block.y; }},
    {"%ntid.z", [](auto& w, int) { return launch(w).block.z; }},
    {"%ctaid.x", [](auto& w, int) { return index(w).x; }},
    {"%ctaid.y", [](auto& w, int) { return index(w).y; }},
    {"%ctaid.z", [](auto& w, int) { return index(w).z; }},
    {"%nctaid.x", [](auto& w, int) { return launch(w).grid.x; }},
    {"%nctaid.y", [](auto& w, int) { return launch(w).grid.y; }},
    {"%nctaid.z", [](auto& w, int) { return launch(w).grid.z; }},
    {"%laneid", [](auto&, int l) { return static_cast<uint32_t>(l); }},
    {"%warpid", [](auto& w, int) { return w.id; }},
    {"%nwarpid", [](auto& w, int) { return launch(w).warps(); }},
    {"%smid", [](auto& w, int) { return index(w).x % kProcessors; }},
    {"%nsmid", [](auto&, int) { return kProcessors; }},
    {"%lanemask_eq", [](auto&, int l) { return 1u << l; }},
    {"%lanemask_le", [](auto&, int l) { return (2u << l) - 1; }},
    {"%lanemask_lt", [](auto&, int l) { return (1u << l) - 1; }},
    {"%lanemask_ge", [](auto&, int l) { return ~0u << l; }},
    {"%lanemask_gt", [](auto&, int l) { return ~0u << l << 1; }},
    {"%cluster_ctaid.x", [](auto& w, int) { return index(w).x % cluster(w).x; }},
    {"%cluster_ctaid.y", [](auto& w, int) { return index(w).y % cluster(w).y; }},
    {"%cluster_ctaid.z", [](auto& w, int) { return index(w).z % cluster(w).z; }},
    {"%cluster_nctaid.x", [](auto& w, int) { return cluster(w).x; }},
    {"%cluster_nctaid.y", [](auto& w, int) { return cluster(w).y; }},
    {"%cluster_nctaid.z", [](auto& w, int) { return cluster(w).z; }},
    {"%cluster_ctarank", [](auto& w, int) { return w.block->rank; }},
    {"%cluster_nctarank", [](auto& w, int) { return static_cast<uint32_t>(cluster(w).count()); }},
    {"%clusterid.x", [](auto& w, int) { return index(w).x / cluster(w).x; }},
    {"%clusterid.y", [](auto& w, int) { return index(w).y / cluster(w).y; }},
    {"%clusterid.z", [](auto& w, int) { return index(w).z / cluster(w).z; }},
    {"%nclusterid.x", [](auto& w, int) { return launch(w).grid.x / cluster(w).x; }},
    {"%nclusterid.y", [](auto& w, int) { return launch(w).grid.y / cluster(w).y; }},
    {"%nclusterid.z", [](auto& w, int) { return launch(w).grid.z / cluster(w).z; }},
    {"%is_explicit_cluster", [](auto& w, int) -> uint32_t { return cluster(w).count() > 1; }},
    {"%dynamic_smem_size", [](auto& w, int) { return launch(w).dynamic_shared; }},
    {"%total_smem_size", [](auto& w, int) { return w.block->shared_bytes; }},
};

}  // namespace

int special_register(const std::string& name) {
  for (size_t i = 0; i < std::size(kSpecials); ++i)
    if (name == kSpecials[i].name) return static_cast<int>(i);
  return -1;
}

uint32_t special_value(const Warp& warp, int number, int lane) { return kSpecials[number].value(warp, lane); }

bool is_clock(const std::string& name) {
  return name.compare(0, 6, "%clock") == 0 || name.compare(0, 12, "%globaltimer") == 0;
}

}  // namespace hgfast::ptx
