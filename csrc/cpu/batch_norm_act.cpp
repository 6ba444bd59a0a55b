// Forward of batch_norm_act on the CPU: statistics, and out = relu((x - mean) * scale + bias + residual).
//
// Statistics: one pass over x. A chunk's sums of d and d * d, d = x - (the chunk's first value), become the chunk's
// mean and sum of squared deviations; these are merged over the chunks in order, in double (Chan, Golub, LeVeque 1979).
// In NHWC four rows at a time are added to sums that stay in L1, so the pass runs at the speed of memory. Apply: reads
// x (and residual), writes out and one bit per element, from the last rows to the first, since those of x are still in
// the cache. Bytes: 1 read, then 1 or 2 reads and 1 write, which goes past the caches where out is larger than they
// are.
#include "cpu/batch_norm_act.h"

#include "common/ops.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

// sums += d and d * d of `count` (at most kRowsAtOnce) rows, all channels.
template <class T>
void add_rows(const T* rows, int64_t count, const T* origin, const BatchNormShape& shape, const ChunkSums<T>& sums) {
  for_each_block(shape.c, [&](int64_t i, auto width) {
    const Block<T> shift = load_block(origin + i, width);
    Block<T> sum = load_scalars<T>(sums.first + i), squares = load_scalars<T>(sums.second + i);
    if (count == kRowsAtOnce) {
      Block<T> d[kRowsAtOnce];
      for (int r = 0; r < kRowsAtOnce; ++r) {
        __builtin_prefetch(rows + r * shape.c + i + kAhead<T>);
        d[r] = load_block(rows + r * shape.c + i, width) - shift;
      }
      sum = sum + ((d[0] + d[1]) + (d[2] + d[3]));
      squares = squares + ((d[0] * d[0] + d[1] * d[1]) + (d[2] * d[2] + d[3] * d[3]));
    } else {
      for (int64_t r = 0; r < count; ++r) {
        const Block<T> d = load_block(rows + r * shape.c + i, width) - shift;
        sum = sum + d;
        squares = squares + d * d;
      }
    }
    store_scalars<T>(sums.first + i, sum);
    store_scalars<T>(sums.second + i, squares);
  });
}

// (sum of d, sum of d * d) of n values -> (mean, sum of squared deviations from it)
template <class S>
void to_moments(S& first, S& second, S origin, int64_t n) {
  const S mean = first / n;
  second = std::max(second - first * mean, S{0});
  first = origin + mean;
}

template <class T>
void chunk_moments_nhwc(const BatchNormStats& p, int64_t chunk) {
  const BatchNormShape& s = p.shape;
  const T* x = static_cast<const T*>(p.x) + chunk * s.chunk_rows() * s.c;
  const ChunkSums<T> sums(p.workspace, s, chunk);
  std::fill(sums.first, sums.first + 2 * s.padded_c(), 0);
  const int64_t rows = s.chunk_count(chunk);
  for (int64_t r = 0; r < rows; r += kRowsAtOnce) add_rows(x + r * s.c, std::min(kRowsAtOnce, rows - r), x, s, sums);
  for (int64_t c = 0; c < s.c; ++c) to_moments<Scalar<T>>(sums.first[c], sums.second[c], to_float(x[c]), rows);
}

template <class T>
void plane_moments_nchw(const BatchNormStats& p, int64_t row) {
  const BatchNormShape& s = p.shape;
  const T* x = static_cast<const T*>(p.x) + row * s.hw;
  const Block<T> shift = splat<T>(to_float(x[0]));
  constexpr int kChains = 4;  // independent sums, to hide the latency of the addition
  Block<T> sum[kChains] = {}, squares[kChains] = {};
  for (int64_t i = 0; i < s.hw; i += kBlock) {
    const int64_t width = s.hw - i;
    Block<T> d = load_block(x + i, width) - shift;
    if (width < kBlock) d = keep(d, first_bits(width));
    const int chain = i / kBlock % kChains;
    sum[chain] = sum[chain] + d;
    squares[chain] = squares[chain] + d * d;
  }
  const ChunkSums<T> sums(p.workspace, s, row / s.c);
  Scalar<T>&first = sums.first[row % s.c], &second = sums.second[row % s.c];
  first = sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
  second = sum_lanes((squares[0] + squares[1]) + (squares[2] + squares[3]));
  to_moments<Scalar<T>>(first, second, to_float(x[0]), s.hw);
}

// Moments of the chunks -> mean and biased variance, for channels [begin, end).
template <class T>
void merge_moments(const BatchNormStats& p, int64_t begin, int64_t end) {
  const int64_t width = end - begin, chunks = p.shape.chunks();
  std::vector<double> mean(width, 0.0), squares(width, 0.0);
  double total = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const ChunkSums<T> sums(p.workspace, p.shape, chunk);
    const double count = static_cast<double>(p.shape.chunk_count(chunk));
    const double share = count / (total + count), weight = total * share;
    for (int64_t i = 0; i < width; ++i) {
      const double delta = sums.first[begin + i] - mean[i];
      mean[i] += delta * share;
      squares[i] += sums.second[begin + i] + delta * delta * weight;
    }
    total += count;
  }
  for (int64_t i = 0; i < width; ++i) {
    static_cast<Scalar<T>*>(p.mean)[begin + i] = static_cast<Scalar<T>>(mean[i]);
    static_cast<Scalar<T>*>(p.var)[begin + i] = static_cast<Scalar<T>>(squares[i] / total);
  }
}

template <class T>
void move_running_statistics(const BatchNormStats& p) {
  using S = Scalar<T>;
  const S *mean = static_cast<const S*>(p.mean), *var = static_cast<const S*>(p.var);
  S *running_mean = static_cast<S*>(p.running.mean), *running_var = static_cast<S*>(p.running.var);
  const BatchNormRunning& running = p.running;
  const double share = running.cumulative ? 1.0 / static_cast<double>(*running.batches + 1) : running.momentum;
  const double count = static_cast<double>(p.shape.count());
  for (int64_t c = 0; c < p.shape.c; ++c) {
    running_mean[c] = static_cast<S>(moved(running_mean[c], mean[c], share));
    running_var[c] = static_cast<S>(moved(running_var[c], of_sample(var[c], count), share));
  }
  if (p.running.batches) ++*p.running.batches;
}

template <class T, bool kNHWC>
void apply_row(const BatchNormApply& p, const Coefficients<T>& coefficients, RowWriter<T> out, int64_t row) {
  const BatchNormShape& s = p.shape;
  const int64_t run = s.run();
  const T* x = static_cast<const T*>(p.x) + row * run;
  const T* residual = p.residual ? static_cast<const T*>(p.residual) + row * run : nullptr;
  char* mask = p.mask ? static_cast<char*>(p.mask) + row * s.mask_row_bytes() : nullptr;
  const RowCoefficients<T, kNHWC> mean(coefficients.first, s, row), scale(coefficients.second, s, row),
      bias(coefficients.third, s, row);
  for_each_block(run, [&, relu_too = p.relu](int64_t i, auto width) {
    Block<T> y = (load_block(x + i, width) - mean.at(i)) * scale.at(i) + bias.at(i);
    if (residual) y = y + load_block(residual + i, width);
    if (mask) {
      const uint16_t bits = positive_bits(y) & first_bits(width);
      std::memcpy(mask + i / 8, &bits, sizeof(bits));
    }
    out.store(row, i, relu_too ? relu(y) : y, width);
  });
}

}  // namespace

void batch_norm_stats(const BatchNormStats& p, Exec exec) {
  dispatch_batch_norm(p.shape, "batch_norm_stats", [&](auto tag, auto is_nhwc) {
    using T = typename decltype(tag)::type;
    for_each_part(p.shape, exec, [&](int64_t part) {
      if constexpr (is_nhwc)
        chunk_moments_nhwc<T>(p, part);
      else
        plane_moments_nchw<T>(p, part);
    });
    const int64_t grain = kBatchNormGrain / p.shape.chunks();
    parallel_for(p.shape.c, grain, exec, [&](int64_t begin, int64_t end, int) { merge_moments<T>(p, begin, end); });
    if (p.running.mean) move_running_statistics<T>(p);
  });
}

void batch_norm_apply(const BatchNormApply& p, Exec exec) {
  dispatch_batch_norm(p.shape, "batch_norm_apply", [&](auto tag, auto is_nhwc) {
    using T = typename decltype(tag)::type;
    const Coefficients<T> coefficients = affine_coefficients<T>(p);
    const RowWriter<T> out(p.out, p.shape);
    for_each_row_backwards(p.shape, exec, [&](int64_t row) { apply_row<T, is_nhwc>(p, coefficients, out, row); });
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
