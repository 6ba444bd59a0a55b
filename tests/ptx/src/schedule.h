// How a launch runs: one host thread, warps in turns.
#pragma once

#include "machine.h"

namespace hgfast::ptx {

// Runs a warp until it waits, polls, ends, or has executed `budget` instructions.
enum class Turn : uint8_t { kWaits, kPolls, kUsedUp, kEnded };
Turn run_warp(Warp& w, uint64_t budget);

// A cluster of blocks, ready to run; `index` counts clusters of the grid.
std::unique_ptr<Cluster> start_cluster(Launch& launch, uint64_t index);
// Throws Error where its blocks end with something unfinished.
void end_cluster(Cluster& cluster);

// Runs a kernel to its end. Throws Error. `arguments`: one pointer for each parameter.
void run_launch(Module& module, const std::string& name, Dim grid, Dim block, Dim cluster, uint32_t dynamic_shared,
                void* const* arguments);

}  // namespace hgfast::ptx
