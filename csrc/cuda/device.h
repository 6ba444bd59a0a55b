// A CUDA device as the choice of kernels sees it, and what multiprocessors of its kind do in a cycle. Plain C++.
#pragma once

#include <algorithm>

namespace hgfast::cuda {

struct Device {
  int major, minor;  // compute capability
  int multiprocessors;
  int shared_bytes;        // of one block at most
  int shared_bytes_all;    // of a multiprocessor, which takes kReservedShared for itself from each block
  int registers, threads;  // of a multiprocessor

  static constexpr int kReservedShared = 1024;

  // Blocks that a multiprocessor holds at a time; registers of a thread.
  int resident_blocks(int block_threads, int block_registers, int block_shared) const {
    const int rounded = (block_registers + 7) / 8 * 8;
    return std::min({registers / (rounded * block_threads), shared_bytes_all / (block_shared + kReservedShared),
                     threads / block_threads});
  }
};

// Of one multiprocessor, in a cycle. From NVIDIA's tables, not measured; of consumer cards where they share their
// compute capability with others, which multiply twice as fast.
struct CardRates {
  int capability;   // 10 major + minor, from which on
  double mma;       // multiply-adds of half types with sums in float32, by mma.sync
  double l2_bytes;  // to and from the L2 cache
  double dram_bytes;
};

constexpr CardRates kCardRates[] = {
    {80, 1024, 40, 11}, {86, 256, 24, 6},    {89, 256, 20, 3.5},
    {90, 1024, 40, 14}, {100, 1024, 48, 27}, {120, 256, 20, 4.5},
};

inline CardRates card_rates(const Device& device) {
  CardRates found = kCardRates[0];
  for (const CardRates& rates : kCardRates)
    if (rates.capability <= 10 * device.major + device.minor) found = rates;
  return found;
}

}  // namespace hgfast::cuda
