// How BatchNorm's sums over a channel are shared out among blocks. Plain C++: the bindings ask for the sizes.
#pragma once

#include "common/batch_norm_act.h"

namespace hgfast::cuda {

// A block sums one chunk of one unit. NHWC: a unit is 8 * lanes channels, where a row of pixels' channels has `lanes`
// threads; a chunk is so many pixels. NCHW: a unit is a channel, a chunk so many images. A unit's chunks are merged in
// teams of kTeam, then the teams: a single block would be long at reading 2048 chunks. All of it in an order that
// depends on the shape alone.
//
// Workspace: (chunk, 2, padded_c), behind it (team, 2, padded_c). Tickets: (unit, teams + 1), behind them one.
struct BatchNormChunks {
  static constexpr int kTeam = 32, kMostBlocks = 2048, kMostImageChunks = 64;
  static constexpr int kBlockThreads = 256, kMostLanes = 32, kChannelsOfLane = 8;

  int64_t rows;      // NHWC: pixels, NCHW: images
  int64_t run;       // NCHW: pixels of an image, NHWC: 1; a row has so many values of a channel
  int lanes, units;  // lanes: in NHWC
  int chunk_rows, chunks, teams;
  int padded_c;

  explicit BatchNormChunks(const BatchNormShape& s)
      : rows(s.nhwc() ? s.n * s.hw : s.n),
        run(s.nhwc() ? 1 : s.hw),
        lanes(1),
        padded_c(static_cast<int>(s.padded_c())) {
    int64_t step = 1, most = kMostBlocks;  // rows of a chunk are a multiple of it; chunks there may be
    if (s.nhwc()) {
      const int64_t octets = divide_up(s.c, kChannelsOfLane);
      while (lanes < octets && lanes < kMostLanes) lanes *= 2;
      units = static_cast<int>(divide_up(octets, lanes));
      step = kBlockThreads / lanes * at_once(s.dtype);
    } else {
      units = static_cast<int>(s.c);
      most = std::min<int64_t>(most, int64_t{kMostImageChunks} * units);
    }
    const int64_t most_of_unit = std::max<int64_t>(1, most / units);
    chunk_rows = static_cast<int>(divide_up(divide_up(rows, most_of_unit), step) * step);
    chunks = static_cast<int>(divide_up(rows, chunk_rows));
    teams = static_cast<int>(divide_up(chunks, kTeam));
  }

  // Octets that a thread loads before it uses the first of them: four loads of 16 bytes.
  static constexpr int at_once(DType dtype) { return dtype == DType::kFloat64 ? 1 : dtype == DType::kFloat32 ? 2 : 4; }

  int64_t blocks() const { return int64_t{chunks} * units; }
  int64_t workspace() const { return int64_t{chunks + (teams > 1 ? teams : 0)} * 2 * padded_c; }
  int64_t tickets() const { return int64_t{units} * (teams + 1) + 1; }

  // Values of a channel in part i of parts of so many rows.
  HGFAST_HOST_DEVICE int64_t values(int64_t i, int64_t part_rows) const {
    const int64_t left = rows - i * part_rows;
    return (left < part_rows ? left : part_rows) * run;
  }
  HGFAST_HOST_DEVICE int team_size(int team) const {
    const int left = chunks - team * kTeam;
    return left < kTeam ? left : kTeam;
  }

 private:
  static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
};

inline BatchNormNeeds batch_norm_needs(const BatchNormShape& shape) {
  const BatchNormChunks chunks(shape);
  return {chunks.workspace(), chunks.tickets()};
}

}  // namespace hgfast::cuda
