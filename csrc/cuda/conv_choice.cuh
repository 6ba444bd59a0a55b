// Which kernel computes a convolution, with which tile, and into how many parts K is split: a cost model in clock
// cycles over the candidates, on the host. `ConvShape::algorithm` overrides it: kernel number + 16 * splits.
#pragma once

#include "common/conv.h"
#include "cuda/candidates.h"
#include "cuda/conv_box.cuh"
#include "cuda/device.cuh"
#include "cuda/swizzle.cuh"

namespace hgfast::cuda {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Do all of these start at 16 bytes? Null does.
template <class... Pointers>
bool are_aligned(Pointers... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

enum class ConvKernel : int {
  kNone = 0,
  kSmallInput = 1,  // cuda/conv_small.cuh
  kMma256x128 = 2,  // cuda/conv_mma.cuh, pixels x output channels
  kMma128x64 = 3,
  kMma64x64 = 4,
  kMma64x32 = 5,
  kWgmma256 = 6,  // cuda/conv_wgmma.cuh, by output channels
  kWgmma192 = 7,
  kWgmma128 = 8,
  kWgmma64 = 9,
};

struct ConvChoice {
  ConvKernel kernel = ConvKernel::kNone;
  int splits = 1;

  int64_t algorithm() const { return static_cast<int>(kernel) + 16 * splits; }
  static ConvChoice decode(int64_t algorithm) {
    return {static_cast<ConvKernel>(algorithm % 16), static_cast<int>(algorithm / 16)};
  }
};

// Arrival counters at the start of the workspace; they must be zero before the first call.
constexpr int64_t kCounterBytes = 16384;

// How K is cut into steps of 128 bytes: for each filter tap the channels in blocks, then those of the extra input. The
// packed weights are one row per output channel, a block per step, tails of blocks zero.
struct ConvSteps {
  int c_blocks, taps, extra_blocks;

  ConvSteps(const ConvShape& s, int block_k)
      : c_blocks(static_cast<int>(ceil_div(s.c, block_k))),
        taps(static_cast<int>(s.kernel * s.kernel)),
        extra_blocks(static_cast<int>(ceil_div(s.extra_c, block_k))) {}
  __host__ __device__ int main() const { return taps * c_blocks; }
  __host__ __device__ int total() const { return main() + extra_blocks; }
};

inline int block_k(DType dtype) { return dtype == DType::kFloat32 ? kBlockK<float> : kBlockK<__half>; }

// K of the small-input kernel: all taps and channels of a result, at most 7 x 7 x 3 = 147, in rows of 128 bytes.
constexpr int kSmallTerms = 160;
template <class T>
constexpr int kSmallBlocks = static_cast<int>(ceil_div(kSmallTerms, kBlockK<T>));
template <class T>
constexpr int kSmallK = kSmallBlocks<T> * kBlockK<T>;

// Its block, see cuda/conv_small.cuh.
constexpr int kSmallThreads = 256, kSmallRegisters = 102, kSmallTileN = 64;
template <class T>
constexpr int kSmallTileM = sizeof(T) == 4 ? 64 : 128;
template <class T>
constexpr int kSmallSmemBytes = kSmallBlocks<T> * (kSmallTileM<T> + kSmallTileN) * kRowBytes;

// Whether the small-input kernel can compute it, and whether it is the one that does: it has a packing of its own.
inline bool takes_small(const ConvShape& s) {
  return switches().small && s.c % 8 != 0 && s.extra_c == 0 && s.kernel * s.kernel * s.c <= kSmallTerms;
}
inline bool runs_small(const ConvShape& s) {
  if (s.algorithm == 0) return takes_small(s);
  return ConvChoice::decode(s.algorithm).kernel == ConvKernel::kSmallInput;
}

// float32 by three products of tf32 numbers, see cuda/mma.cuh.
inline bool is_exact(const ConvShape& s) { return s.exact != 0 && s.dtype == DType::kFloat32; }

// What the cost model knows of a kernel's tile. Rates are for half types, mma.sync's on a card that multiplies
// kMmaRate times a cycle; tf32 runs at half of them. The figures are estimates (instruction rates and latencies from
// NVIDIA's tables and the microbenchmark literature), not measured; hgfast/frozen/tune.py measures.
struct ConvTile {
  ConvKernel kernel;
  const char* name;
  int m, n;                          // pixels, output channels
  int threads, registers;            // of a block; of a thread at most, of all architectures (tests/gates)
  double fma_per_cycle;              // of a multiprocessor that is full of such blocks
  double step_latency;               // cycles that a step takes at least, by the depth of the pipeline
  int smem_bytes;                    // dynamic shared memory of a block
  const char* exact_name = nullptr;  // of its exact float32 form, if it has one
};
constexpr double kMmaRate = 1024;

constexpr ConvTile kConvTiles[] = {
    {ConvKernel::kMma256x128, "mma 256x128", 256, 128, 256, 231, 900, 400, 147456},
    {ConvKernel::kMma128x64, "mma 128x64", 128, 64, 128, 170, 750, 400, 73728, "mma 128x64 3xtf32"},
    {ConvKernel::kMma64x64, "mma 64x64", 64, 64, 128, 114, 650, 270, 65536, "mma 64x64 3xtf32"},
    {ConvKernel::kMma64x32, "mma 64x32", 64, 32, 128, 106, 500, 270, 49152, "mma 64x32 3xtf32"},
    {ConvKernel::kWgmma256, "wgmma 128x256", 128, 256, 384, 168, 1600, 300, 229376},
    {ConvKernel::kWgmma192, "wgmma 128x192", 128, 192, 384, 168, 1500, 300, 217088},
    {ConvKernel::kWgmma128, "wgmma 128x128", 128, 128, 384, 168, 1300, 300, 217088},
    {ConvKernel::kWgmma64, "wgmma 128x64", 128, 64, 384, 168, 900, 250, 204800},
};

constexpr ConvTile conv_tile(ConvKernel kernel) {
  for (const ConvTile& tile : kConvTiles)
    if (tile.kernel == kernel) return tile;
  return {ConvKernel::kNone, "none", 1, 1, 32, 1, 1, 0, 0};
}

constexpr bool is_wgmma(ConvKernel kernel) { return kernel >= ConvKernel::kWgmma256 && kernel <= ConvKernel::kWgmma64; }

constexpr int kMaxMmaKernel = 5;  // 25 taps in a mask of 32 bits

// Whether this build has sm_90a code and the device runs it.
inline bool has_wgmma(const Device& device) {
#if defined(HGFAST_SM90A) || defined(HGFAST_EMULATOR)
  return device.major == 9 && switches().wgmma;
#else
  return false;
#endif
}

// And whether TMA can address the tensors.
inline bool takes_wgmma(const ConvShape& s, const Device& device) {
  return has_wgmma(device) && s.dtype != DType::kFloat32 && s.c % 8 == 0 && s.extra_c % 8 == 0 && s.kernel <= 3 &&
         s.stride <= 2 && s.extra_stride <= 2;
}

// Of the products, against half types.
inline double rate_factor(const ConvShape& s) {
  if (s.dtype != DType::kFloat32) return 1;
  return is_exact(s) ? 0.5 / 3 : 0.5;
}

// A block's static memory, a flag, reaches up to where its dynamic memory is aligned.
inline bool takes_tile(const ConvShape& s, const ConvTile& tile, const Device& device) {
  if (is_exact(s) && tile.exact_name == nullptr) return false;
  if (is_wgmma(tile.kernel) && !takes_wgmma(s, device)) return false;
  return tile.smem_bytes + kSwizzleAlignment <= device.shared_bytes;
}

class ConvCost {
 public:
  static constexpr double kFixed = 1500;  // launch, filling the pipeline, latency of the epilogue
  static constexpr int kMaxSplits = 32;

  ConvCost(const ConvShape& s, const Device& device)
      : shape_(s),
        device_(device),
        rates_(card_rates(device)),
        steps_(ConvSteps(s, block_k(s.dtype)).total()),
        rate_factor_(rate_factor(s)) {}

  // What a split of K counts: the wgmma kernel's input copies, which may serve three steps, or steps.
  int64_t parts(const ConvTile& t) const {
    const ConvSteps steps(shape_, block_k(shape_.dtype));
    return is_wgmma(t.kernel) && choose_box(shape_).reuse ? steps.main() / 3 + steps.extra_blocks : steps.total();
  }

  // Whether K can be split so: the last split must have something to do, and each tile a counter.
  bool can_split(const ConvTile& t, int splits) const {
    const int64_t all = parts(t);
    return splits == 1 || (splits > 1 && splits <= all && ceil_div(all, ceil_div(all, splits)) == splits &&
                           tiles(t) * 4 <= kCounterBytes);
  }

  int64_t tiles(const ConvTile& t) const {
    const int64_t rows =
        is_wgmma(t.kernel) ? choose_box(shape_).tiles() : ceil_div(shape_.n * shape_.p * shape_.q, t.m);
    return rows * ceil_div(shape_.k, t.n);
  }

  int resident_blocks(const ConvTile& t) const {
    return std::max(1, device_.resident_blocks(t.threads, t.registers, t.smem_bytes + kSwizzleAlignment));
  }

  double cycles(const ConvTile& t, int splits) const {
    const int64_t together = resident_blocks(t), sms = device_.multiprocessors, per_wave = sms * together;
    const int64_t blocks = tiles(t) * splits;
    const double rest = blocks % per_wave == 0 ? 0 : wave(t, splits, ceil_div(blocks % per_wave, sms));
    return blocks / per_wave * wave(t, splits, together) + rest;
  }

 private:
  // A wave of blocks, `together` of them on each multiprocessor.
  double wave(const ConvTile& t, int splits, int64_t together) const {
    const double rate = t.fma_per_cycle * rate_factor_ * (is_wgmma(t.kernel) ? 1 : rates_.mma / kMmaRate);
    const double busy = static_cast<double>(t.m) * t.n * block_k(shape_.dtype) / rate * together;
    const double step = busy > t.step_latency ? busy : t.step_latency;
    const int64_t pixels = shape_.n * shape_.p * shape_.q;
    const double tile_bytes = 4.0 * (pixels < t.m && !is_wgmma(t.kernel) ? pixels : t.m) * t.n * together;
    const double partial = splits > 1 ? (splits + 1) * tile_bytes / rates_.l2_bytes + kFixed / 2 : 0;
    return kFixed + ceil_div(steps_, splits) * step + tile_bytes / rates_.l2_bytes + partial;
  }

  ConvShape shape_;
  Device device_;
  CardRates rates_;
  int64_t steps_;
  double rate_factor_;
};

// f(tile, splits, cycles) for all that the kernels with tiles can do.
template <class F>
void for_each_conv(const ConvShape& s, const Device& device, const F& f) {
  if (s.kernel > kMaxMmaKernel) return;
  const ConvCost cost(s, device);
  for (const ConvTile& tile : kConvTiles) {
    if (!takes_tile(s, tile, device)) continue;
    for (int splits = 1; splits <= (switches().split ? ConvCost::kMaxSplits : 1); ++splits)
      if (cost.can_split(tile, splits)) f(tile, splits, cost.cycles(tile, splits));
  }
}

inline ConvChoice choose_conv(const ConvShape& s, const Device& device) {
  if (s.algorithm != 0) return ConvChoice::decode(s.algorithm);
  if (takes_small(s)) return {ConvKernel::kSmallInput, 1};
  ConvChoice best;
  double best_cycles = 0;
  for_each_conv(s, device, [&](const ConvTile& tile, int splits, double cycles) {
    if (best.kernel == ConvKernel::kNone || cycles < best_cycles) best = {tile.kernel, splits}, best_cycles = cycles;
  });
  return best;
}

// Bytes of workspace: none without a split.
inline int64_t conv_workspace_bytes(const ConvShape& s, const ConvChoice& choice) {
  if (choice.splits <= 1) return 0;
  const ConvTile t = conv_tile(choice.kernel);
  return kCounterBytes + ConvCost(s, {}).tiles(t) * choice.splits * t.m * t.n * 4;
}

// The kernels, each instantiated in a .cu file of its own.
template <class T>
void run_conv_mma(const Conv& a, const ConvChoice& choice, Exec stream);
template <class T>
void run_conv_wgmma(const Conv& a, const ConvChoice& choice, Exec stream);
template <class T>
void run_conv_small(const Conv& a, const ConvChoice& choice, Exec stream);

}  // namespace hgfast::cuda
