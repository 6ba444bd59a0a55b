// Whether a bottleneck runs as one kernel, with which tile, or as three convolutions: the cost model of
// cuda/conv_choice.cuh, to which the time of DRAM is added, which is what the whole block saves.
#pragma once

#include <algorithm>
#include <iterator>

#include "cuda/bottleneck_args.cuh"
#include "cuda/candidates.h"

namespace hgfast::cuda {

using MmaBottleneck8x16x128 = BottleneckTile<MmaProducts, 8, 16, 128, 2, 3>;
using MmaBottleneck8x8x128 = BottleneckTile<MmaProducts, 8, 8, 128, 2, 4>;
using MmaBottleneck8x16x64 = BottleneckTile<MmaProducts, 8, 16, 64, 4, 3>;
using WgmmaBottleneck8x16x128 = BottleneckTile<WgmmaProducts, 8, 16, 128, 4, 2>;
using WgmmaBottleneck8x8x128 = BottleneckTile<WgmmaProducts, 8, 8, 128, 4, 2>;
using WgmmaBottleneck8x16x64 = BottleneckTile<WgmmaProducts, 8, 16, 64, 4, 3>;

// Calls f(Tile()) for the tile of a kernel; false if there is none.
template <class F>
bool with_bottleneck_tile(BottleneckKernel kernel, const F& f) {
  switch (kernel) {
    case BottleneckKernel::kMma8x16x128:
      return f(MmaBottleneck8x16x128()), true;
    case BottleneckKernel::kMma8x8x128:
      return f(MmaBottleneck8x8x128()), true;
    case BottleneckKernel::kMma8x16x64:
      return f(MmaBottleneck8x16x64()), true;
    case BottleneckKernel::kWgmma8x16x128:
      return f(WgmmaBottleneck8x16x128()), true;
    case BottleneckKernel::kWgmma8x8x128:
      return f(WgmmaBottleneck8x8x128()), true;
    case BottleneckKernel::kWgmma8x16x64:
      return f(WgmmaBottleneck8x16x64()), true;
    default:
      return false;
  }
}

// Estimates, like those of kConvTiles.
struct BottleneckRate {
  BottleneckKernel kernel;
  const char* name;
  int registers;         // of a thread at most
  double fma_per_cycle;  // of a multiprocessor with two blocks
};

constexpr BottleneckRate kBottleneckRates[] = {
    {BottleneckKernel::kMma8x16x128, "mma bottleneck 8x16x128", 245, 850},
    {BottleneckKernel::kMma8x8x128, "mma bottleneck 8x8x128", 216, 700},
    {BottleneckKernel::kMma8x16x64, "mma bottleneck 8x16x64", 189, 700},
    {BottleneckKernel::kWgmma8x16x128, "wgmma bottleneck 8x16x128", 251, 1300},
    {BottleneckKernel::kWgmma8x8x128, "wgmma bottleneck 8x8x128", 198, 1100},
    {BottleneckKernel::kWgmma8x16x64, "wgmma bottleneck 8x16x64", 181, 900},
};

template <class Tile>
bool takes_bottleneck(const BottleneckShape& s, const Device& device) {
  const bool half = s.dtype == DType::kFloat16 || s.dtype == DType::kBFloat16;
  const int64_t pixels = s.n * std::max(s.h * s.w, s.out_h * s.out_w);
  // The narrow tile's rows of t are 128 bytes, as those of conv_pack for up to 64 channels; the wide one's are two.
  return half && pixels > 0 && s.c > 0 && s.m > 0 && s.c % 8 == 0 && s.m % 8 == 0 && s.m <= Tile::kM &&
         s.m > Tile::kM - kBlockK<__half> && pixels * s.c < int64_t{1} << 31 && (!Tile::kWgmma || has_wgmma(device)) &&
         Tile::kSmemBytes <= device.shared_bytes;
}

class BottleneckCost {
 public:
  BottleneckCost(const BottleneckShape& s, const Device& device)
      : shape_(s), device_(device), rates_(card_rates(device)) {}

  double three_convolutions() const {
    double cycles = 0;
    for (int i = 0; i < 3; ++i) {
      const ConvShape conv = inner_conv(shape_, i);
      const ConvChoice choice = choose_conv(conv, device_);
      // The BatchNorm-ReLU of x is written by the call before and read by the first; the last one reads x again.
      const double elements = i == 0 ? 2.0 * shape_.c + shape_.m : i == 1 ? 2.0 * shape_.m : shape_.m + 2.0 * shape_.c;
      cycles += std::max(ConvCost(conv, device_).cycles(conv_tile(choice.kernel), choice.splits), dram(elements));
    }
    return cycles;
  }

  template <class Tile>
  int resident_blocks(const BottleneckRate& rate) const {
    return std::max(1, device_.resident_blocks(Tile::kThreads, rate.registers, Tile::kSmemBytes));
  }

  template <class Tile>
  double cycles(const BottleneckRate& rate) const {
    const double fma_per_cycle = rate.fma_per_cycle * (Tile::kWgmma ? 1 : rates_.mma / kMmaRate);
    const int64_t sms = device_.multiprocessors, tiles = shape_.n * tiles_per_image<Tile>();
    const int64_t together = resident_blocks<Tile>(rate), per_wave = sms * together, rest = tiles % per_wave;
    const double last = rest == 0 ? 0 : wave<Tile>(fma_per_cycle, ceil_div(rest, sms));
    return std::max(tiles / per_wave * wave<Tile>(fma_per_cycle, together) + last, dram(2.0 * shape_.c));
  }

 private:
  static constexpr double kStepLatency = 400;

  double dram(double elements_per_pixel) const {
    return elements_per_pixel * 2 * shape_.n * shape_.h * shape_.w / (rates_.dram_bytes * device_.multiprocessors);
  }

  template <class Tile>
  int64_t tiles_per_image() const {
    return ceil_div(shape_.h, Tile::kTileH) * ceil_div(shape_.w, Tile::kTileW);
  }

  // A wave of blocks, `together` of them on each multiprocessor.
  template <class Tile>
  double wave(double fma_per_cycle, int64_t together) const {
    const int64_t block_k = kBlockK<__half>, c_blocks = ceil_div(shape_.c, block_k);
    auto steps = [&](int64_t count, int rows) {
      const double busy = static_cast<double>(rows) * Tile::kM * block_k / fma_per_cycle * together;
      return count * std::max(busy, kStepLatency);
    };
    const double bytes = 4.0 * Tile::kPixels * shape_.c * together;  // x for the skip, and y
    return ConvCost::kFixed + steps(c_blocks, Tile::kHaloTurns * Tile::kTurnRows) +
           steps(9 * Tile::kBlocks + ceil_div(shape_.c, Tile::kM) * Tile::kBlocks, Tile::kPixels) +
           bytes / rates_.l2_bytes;
  }

  BottleneckShape shape_;
  Device device_;
  CardRates rates_;
};

struct BottleneckChoice {
  BottleneckKernel kernel = BottleneckKernel::kNone;
  double cycles = 0;  // 0 for the one that shape.algorithm asks for
};

// f(Tile(), rate, cycles) for all kernels that take the shape.
template <class F>
void for_each_bottleneck(const BottleneckShape& s, const Device& device, const F& f) {
  if (!switches().bottleneck) return;
  const BottleneckCost cost(s, device);
  for (const BottleneckRate& rate : kBottleneckRates)
    with_bottleneck_tile(rate.kernel, [&](auto tile) {
      using Tile = decltype(tile);
      if (takes_bottleneck<Tile>(s, device)) f(tile, rate, cost.template cycles<Tile>(rate));
    });
}

inline BottleneckChoice choose_bottleneck(const BottleneckShape& s, const Device& device) {
  if (s.algorithm != 0) return {static_cast<BottleneckKernel>(s.algorithm), 0};
  BottleneckChoice best;
  for_each_bottleneck(s, device, [&](auto, const BottleneckRate& rate, double cycles) {
    if (best.kernel == BottleneckKernel::kNone || cycles < best.cycles) best = {rate.kernel, cycles};
  });
  return best;
}

// The kernels, instantiated in .cu files of their own.
template <class T, class Tile>
void run_bottleneck(const Bottleneck& a, Exec stream);

}  // namespace hgfast::cuda
