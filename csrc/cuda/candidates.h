// All kernels that could compute a call on a device, with what the cost model expects of each. Plain C++.
#pragma once

#include <cstdint>
#include <vector>

#include "common/bottleneck.h"
#include "common/conv.h"
#include "cuda/device.h"

namespace hgfast::cuda {

struct Candidate {
  int64_t algorithm;   // for ConvShape or BottleneckShape
  const char* kernel;  // its name, for people
  int splits;          // of K
  double cycles;       // expected
  int64_t workspace_bytes;
  int shared_bytes, registers, threads;  // of a block, of a thread, of a block
  int resident_blocks;                   // of a multiprocessor
};

// The best expected first.
std::vector<Candidate> conv_candidates(const ConvShape& shape, const Device& device);
std::vector<Candidate> bottleneck_candidates(const BottleneckShape& shape, const Device& device);
// What the cost model expects of the three convolutions of a bottleneck, in cycles.
double three_convolutions_cycles(const BottleneckShape& shape, const Device& device);
Device the_device();  // the current one

}  // namespace hgfast::cuda
