// Weights into the order in which tiles are loaded (layout.h): tiles of 16 rows of pairs of input channels.
#include "cpu/amx/layout.h"
#include "cpu/half.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

// Weights of one operand: `count` channels in the reduction's step `step` for output channel k.
struct Place {
  int64_t tap, c;  // of the kernel; c < 0: none
};

class TilePacker {
 public:
  TilePacker(const ConvPack& pack, const TileLayout& layout) : pack_(pack), s_(pack.shape), l_(layout) {}

  void run() const {
    parallel_for(l_.groups, 1, l_.threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t group = begin; group < end; ++group) pack_group(group);
    });
  }

 private:
  void pack_group(int64_t group) const {
    auto* to = reinterpret_cast<BFloat16*>(static_cast<char*>(pack_.packed) + group * l_.group_bytes());
    for (int64_t step = 0; step < l_.steps + l_.extra_steps; ++step)
      for (int64_t k = group * kGroup; k < (group + 1) * kGroup; k += kTileSums, to += kTileSize / 2)
        for (int64_t c = 0; c < kStep; ++c)
          for (int64_t i = 0; i < kTileSums; ++i)
            to[(c / 2 * kTileSums + i) * 2 + c % 2] = from_float<BFloat16>(k + i < s_.k ? weight(k + i, step, c) : 0.f);
  }

  float weight(int64_t k, int64_t step, int64_t c) const {
    if (step >= l_.steps) {
      const int64_t channel = (step - l_.steps) * kStep + c;
      return channel < s_.extra_c ? pack_.extra[k * s_.extra_c + channel] : 0;
    }
    const Place at = place(step, c);
    return at.c < 0 ? 0 : pack_.weight[(k * s_.c + at.c) * s_.kernel * s_.kernel + at.tap];
  }

  Place place(int64_t step, int64_t c) const {
    const int64_t taps = s_.kernel * s_.kernel;
    if (whole_steps(s_)) return {step % taps, step / taps * kStep + c};
    const int64_t row_steps = l_.steps / s_.kernel, e = step % row_steps * kStep + c;
    if (e >= s_.kernel * s_.c) return {0, -1};
    return {step / row_steps * s_.kernel + e / s_.c, e % s_.c};
  }

  const ConvPack& pack_;
  const ConvShape& s_;
  const TileLayout& l_;
};

}  // namespace

void pack_tiles(const ConvPack& pack, const TileLayout& layout) { TilePacker(pack, layout).run(); }

}  // namespace hgfast::cpu::HGFAST_ISA
