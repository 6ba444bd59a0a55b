// Decoding in one launch: flip-merge, maximum, step below a pixel, affine map.
//
// Tiling: a block of 128 threads for one map (NCHW), or of 256 for a pack of neighbouring maps of an image (NHWC: 16
// bytes a pixel). Its threads read the maps once with 16-byte accesses, four (NCHW) or eight (NHWC) of them on their
// way in each thread, 8 or 32 KB a block, and reduce the maximum; then a warp for each map blurs the 5x5 values that
// DARK and UDP need, from values that lie in L1 or L2, and five of its lanes take the five logarithms of their step.
// Nothing but keypoints and scores is written. Bytes: the maps once (twice with a flip test). FLOPs: a comparison a
// value. Bound by DRAM bandwidth for large batches, by latency for small ones. Limits: float32 and halves, maps below
// 2^31 pixels and kMaxDecodeWidth columns.
#pragma once

#include "common/decode_refine.h"
#include "cuda/decode_blur.cuh"

namespace hgfast::cuda {

constexpr int kMaxDecodeWidth = 4096;  // rows that the blur keeps in shared memory
#ifdef HGFAST_EMULATOR
constexpr size_t kPlentyForBlur = 2048;  // so that tests meet maps that are wide by its measure
#else
constexpr size_t kPlentyForBlur = 48 << 10;
#endif

struct DecodeParams {
  HeatmapSource source;
  const void* affine;
  DType affine_dtype;
  int64_t affine_stride;
  float* keypoints;
  float* scores;
  DecodeMethod method;
  BlurKernel blur;
  int scratch;     // shared floats a warp that blurs
  int blur_warps;  // as many of a block
  bool packed;     // 16-byte accesses allowed

  HG_DEV bool blurs() const { return method == DecodeMethod::kDark || method == DecodeMethod::kDarkUdp; }
};
static_assert(sizeof(DecodeParams) <= 4096, "kernel parameters");

// What is known of a map after its maximum: where it is, and for DARK and UDP the values around it.
struct MapState {
  Peak peak;
  float window[25];
  float factor;   // of the window's values: old / new maximum
  bool rescales;  // the factor matters, or for kNewell: the map is constant
  double logs[kStepLogs];
};

// Threads of a block that has so many maps.
template <int kChannels>
constexpr int kMapThreads = kChannels == 1 ? kDecodeThreads : 2 * kDecodeThreads;

template <class A>
HG_DEV void apply_affine(const A* m, double& x, double& y) {
  const double mapped_x = m[0] * x + m[1] * y + m[2];
  y = m[3] * x + m[4] * y + m[5];
  x = mapped_x;
}

// The step of DARK or UDP; a warp, a lane for each logarithm.
HG_DEV Offset log_step(const DecodeParams& p, MapState& state, int x, int y, int w, int h) {
  const ClipRange clip = clip_range(p.method);
  const auto at = [&](int dx, int dy) {
    // UDP pads by repeating the border; DARK stays inside
    const int i = clamp_index(x + dx, w) - x + 2, j = clamp_index(y + dy, h) - y + 2;
    const double v = state.window[5 * j + i];
    return state.rescales ? clip_value(v * state.factor, clip) : v;
  };
  const int lane = threadIdx.x % 32;
  double mine = 1;
#pragma unroll 1
  for (int i = 0; i < kStepLogs; ++i) {  // all lanes together: they would take turns if each had its own
    const double quotient = step_quotient(p.method, i, at);
    if (i == lane) mine = quotient;
  }
  if (lane < kStepLogs) state.logs[lane] = log(mine);
  __syncwarp();
  return step_from_logs(p.method, state.logs);
}

template <class T, int kChannels>
HG_DEV Offset step_from(const DecodeParams& p, const MapReader<T, kChannels>& maps, int c, MapState& state, int x,
                        int y) {
  const auto at = [&](int xx, int yy) { return maps.at(c, xx, yy); };
  if (!p.blurs()) return plain_step(p.method, at, x, y, maps.w, maps.h);
  return takes_log_step(p.method, x, y, maps.w, maps.h) ? log_step(p, state, x, y, maps.w, maps.h) : Offset{};
}

// Whether the factor can matter, from the blurred values: the same in all lanes.
HG_DEV bool needs_factor(const DecodeParams& p, const MapState& state, int x, int y, int w, int h) {
  const ClipRange clip = clip_range(p.method);
  bool cancels = stays_below(state.peak.value, clip);
  for (int dy = -2; dy <= 2; ++dy)
    for (int dx = -2; dx <= 2; ++dx)
      if (reads_window_value(p.method, dx, dy)) {
        const int i = clamp_index(x + dx, w) - x + 2, j = clamp_index(y + dy, h) - y + 2;
        cancels &= stays_above(state.window[5 * j + i], clip);
      }
  return !cancels;
}

// Fills a map's window; one warp.
template <class T, int kChannels>
HG_DEV void prepare_window(const DecodeParams& p, const MapReader<T, kChannels>& maps, int c, MapState& state,
                           float* scratch) {
  if (!p.blurs() || !(state.peak.value > 0)) return;
  const int x = state.peak.index % maps.w, y = state.peak.index / maps.w;
  blur_window(maps, c, x, y, p.blur, scratch, state.window);
  if (threadIdx.x % 32 == 0) state.rescales = needs_factor(p, state, x, y, maps.w, maps.h);
}

// What only the whole map tells, in the rare cases that need it; the whole block.
template <class T, int kChannels>
HG_DEV void look_at_whole_map(const DecodeParams& p, const MapReader<T, kChannels>& maps, int c, MapState& state,
                              float* scratch, Peak* warp_peaks) {
  const Peak peak = state.peak;
  if (state.rescales) {
    const float maximum = blurred_maximum<kMapThreads<kChannels>>(maps, c, p.blur, p.blur_warps, scratch, warp_peaks);
    if (threadIdx.x == 0) state.factor = peak.value / maximum;
  } else if (p.method == DecodeMethod::kNewell && peak.value < 0) {
    Peak smaller = no_peak();
    for (int i = threadIdx.x; i < maps.w * maps.h; i += kMapThreads<kChannels>)
      if (maps.at(c, i % maps.w, i / maps.w) < peak.value) smaller.offer(1.0f, 0);
    smaller = block_peak<kMapThreads<kChannels>>(smaller, warp_peaks);
    if (threadIdx.x == 0) state.rescales = smaller.index == INT_MAX;
  }
}

// Location and score of one map; one warp.
template <class T, int kChannels>
HG_DEV void write_keypoint(const DecodeParams& p, const MapReader<T, kChannels>& maps, int64_t image, int channel,
                           int c, MapState& state) {
  float x = -1, y = -1, score = state.peak.index == INT_MAX ? nanf("") : state.peak.value;
  const int px = state.peak.index % maps.w, py = state.peak.index / maps.w;
  if (score > 0) {
    const Offset step = step_from(p, maps, c, state, px, py);
    x = static_cast<float>(px + step.x), y = static_cast<float>(py + step.y);
  } else if (p.method == DecodeMethod::kNewell && score <= 0) {
    x = px, y = py;
    if (score < 0 && !state.rescales) score = 0;
  }
  if (threadIdx.x % 32 != 0) return;
  if (p.affine != nullptr) {
    double mapped_x = x, mapped_y = y;
    const int64_t matrix = image * p.affine_stride;
    if (p.affine_dtype == DType::kFloat64)
      apply_affine(static_cast<const double*>(p.affine) + matrix, mapped_x, mapped_y);
    else
      apply_affine(static_cast<const float*>(p.affine) + matrix, mapped_x, mapped_y);
    x = static_cast<float>(mapped_x), y = static_cast<float>(mapped_y);
  }
  const int64_t index = image * p.source.shape.k + channel + c;
  p.keypoints[2 * index] = x;
  p.keypoints[2 * index + 1] = y;
  p.scores[index] = score;
}

// The maps' maxima, from all that the block's threads have seen, in states[c].peak.
template <class T, int kChannels>
HG_DEV void find_peaks(const DecodeParams& p, const MapReader<T, kChannels>& maps, MapState* states, Peak* warp_peaks) {
  constexpr int kBlock = kMapThreads<kChannels>, kPack = kPackWidth<T>;
  Peak best[kChannels];
#pragma unroll
  for (int c = 0; c < kChannels; ++c) best[c] = no_peak();
  if constexpr (kChannels == 1) {
    if (p.packed)
      scan_run<T, kPack, kBlock>(maps, best[0]);
    else
      scan_run<T, 1, kBlock>(maps, best[0]);
  } else {
    if (p.packed)
      scan_pixels<T, kChannels, true, kBlock>(maps, best);
    else
      scan_pixels<T, kChannels, false, kBlock>(maps, best);
  }
#pragma unroll
  for (int c = 0; c < kChannels; ++c) {
    const Peak peak = warp_peak(best[c]);
    if (threadIdx.x % 32 == 0) warp_peaks[threadIdx.x / 32 * kChannels + c] = peak;
  }
  __syncthreads();
  if (threadIdx.x < kChannels) {
    Peak peak = no_peak();
    for (int warp = 0; warp < kBlock / 32; ++warp) {
      const Peak other = warp_peaks[warp * kChannels + threadIdx.x];
      peak.offer(other.value, other.index);
    }
    states[threadIdx.x].peak = peak, states[threadIdx.x].rescales = false;
  }
}

// kChannels = 1: NCHW. kChannels > 1: NHWC.
template <class T, int kChannels>
__global__ void __launch_bounds__(kMapThreads<kChannels>, kChannels == 1 ? 8 : 2)
    decode_heatmaps_kernel(const __grid_constant__ DecodeParams p) {
  constexpr int kWarps = kMapThreads<kChannels> / 32;
  HG_SHARED(MapState, states, kChannels);
  HG_SHARED(Peak, warp_peaks, kWarps * kChannels);
  HG_DYN_SMEM(dynamic, 16);
  const int warp = threadIdx.x / 32, channels = static_cast<int>(p.source.shape.k);
  const int groups = (channels + kChannels - 1) / kChannels;
  const int64_t image = blockIdx.x / groups;
  const int channel = static_cast<int>(blockIdx.x % groups) * kChannels;
  const int count = channels - channel < kChannels ? channels - channel : kChannels;
  float* scratch = reinterpret_cast<float*>(dynamic) + warp * p.scratch;
  const MapReader<T, kChannels> maps(p.source, image, channel);

  find_peaks(p, maps, states, warp_peaks);
  __syncthreads();
  if (warp < p.blur_warps)
    for (int c = warp; c < count; c += p.blur_warps) prepare_window(p, maps, c, states[c], scratch);
  __syncthreads();
  for (int c = 0; c < count; ++c) look_at_whole_map(p, maps, c, states[c], scratch, warp_peaks);
  __syncthreads();
  for (int c = warp; c < count; c += kWarps) write_keypoint(p, maps, image, channel, c, states[c]);
}

template <class T>
void launch_decode_heatmaps(const DecodeHeatmaps& d, Exec stream) {
  const HeatmapShape& s = d.shape;
  HGFAST_CHECK(s.w <= kMaxDecodeWidth, "decode_heatmaps: maps wider than ", kMaxDecodeWidth, ": ", s.w);
  DecodeParams p{{s, d.heatmaps, d.flipped, d.clamps_at_one()},
                 d.affine,
                 d.affine_dtype,
                 d.affine_stride,
                 static_cast<float*>(d.keypoints),
                 static_cast<float*>(d.scores),
                 d.method,
                 d.blur,
                 0,
                 kDecodeWarps,
                 false};
  const bool blurs = d.method == DecodeMethod::kDark || d.method == DecodeMethod::kDarkUdp;
  if (blurs) p.scratch = blur_scratch(d.blur, static_cast<int>(s.w));
  const auto run = [&](auto kernel, int channels, int threads) {
    const int64_t blocks = s.n * ((s.k + channels - 1) / channels);
    // wide maps: the memory of a small card's block has rows for fewer warps
    if (sizeof(float) * (threads / 32) * p.scratch <= kPlentyForBlur) p.blur_warps = threads / 32;
    launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(threads), sizeof(float) * p.blur_warps * p.scratch, stream,
           p);
  };
  constexpr int kPack = kPackWidth<T>;
  p.packed = can_pack<T>(s.layout == Layout::kNCHW ? s.w : s.k, d.heatmaps, d.flipped.maps);
  if (s.layout == Layout::kNCHW)
    run(decode_heatmaps_kernel<T, 1>, 1, kMapThreads<1>);
  else
    run(decode_heatmaps_kernel<T, kPack>, kPack, kMapThreads<kPack>);
}

}  // namespace hgfast::cuda
