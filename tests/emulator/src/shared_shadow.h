// Who wrote and read each granule of a block's shared memory (check build): races, uninitialised reads, copies in
// flight.
//
// A line of 16 bytes is one granule as long as all accesses cover it as a whole, as those of ldmatrix, cp.async, bulk
// copies and wgmma do; the first one that does not splits it into granules of 2 bytes, each with a copy of its history.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "clocks.h"

namespace hgfast::emu {

struct Block;

// One access, by an actor of the block's clocks.
struct SharedAccess {
  uint32_t offset;
  size_t bytes;
  bool write;
  int actor;
  const void* pc;
  // through the async proxy (bulk copies, wgmma): sees a thread's writes only after its fence.proxy.async
  bool async_proxy = false;
  bool atomic = false;
};

class SharedShadow {
 public:
  static constexpr uint32_t kGranule = 2, kLine = 16, kParts = kLine / kGranule;

  void reset() { ++epoch_; }
  // Fails if the access is out of bounds, races with an earlier one, or reads what nobody wrote.
  void note(Block& block, const SharedAccess& access);
  // A cp.async writes the bytes; nobody may touch them until it has landed.
  void launch(Block& block, const SharedAccess& access);
  void land(uint32_t offset, size_t bytes);

 private:
  struct Reader {
    const void* pc;
    Clock clock;
    int actor;
  };
  struct Granule {
    uint32_t epoch = 0;  // of the block that the rest belongs to
    Clock write_clock = 0;
    int writer = -1;
    bool in_flight = false, via_async_proxy = false, atomic = false;
    bool split = false;  // of a line: its granules count
    const void* write_pc = nullptr;
    std::vector<Reader> readers;  // mutually unordered
  };

  Granule& line(size_t index);
  void split(size_t line);
  // f(granule, its offset) for all granules of a range.
  template <class F>
  void for_each(uint32_t offset, size_t bytes, F f);
  void note_granule(Block& block, Granule& granule, const SharedAccess& access, uint32_t offset) const;
  void check_flight(Block& block, const Granule& granule, const SharedAccess& access, uint32_t offset) const;
  void check_writer(Block& block, const Granule& granule, const SharedAccess& access, uint32_t offset) const;
  void check_readers(Block& block, const Granule& granule, const SharedAccess& access, uint32_t offset) const;
  void add_reader(Block& block, Granule& granule, const SharedAccess& access) const;

  uint32_t epoch_ = 0;
  std::vector<Granule> lines_, granules_;
};

}  // namespace hgfast::emu
