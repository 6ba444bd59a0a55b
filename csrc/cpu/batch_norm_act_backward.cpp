// Backward of batch_norm_act on the CPU: one pass of sums, one pass that makes the gradient of x.
//
// g = grad (+ grad2) where ReLU let through. Reduce: bias_grad = sum g, weight_grad = sum g * (x - mean) / std; writes
// g where the residual wants it, so that the second pass need not form it again.
// Apply: x_grad = scale * g + slope * (x - mean) + offset (+ addend).
// Sums: float32 within a chunk (NHWC: four rows at once in registers), double over the chunks in order. Apply goes from
// the last rows to the first. Bytes, each a tensor: reduce 2 reads (+1 read for grad2, +1 write for g), apply 2 reads
// (+1 for addend) and 1 write; writes go past the caches where the tensor is larger than they are.
#include "common/ops.h"
#include "cpu/batch_norm_act.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

// Pointers into one row of what a backward kernel reads, and g and x - mean of its blocks. NHWC: r rows further on too.
template <class T, bool kNHWC, ReluGate kGate>
struct GradientRow {
  const T *grad, *grad2, *x, *residual;
  const char* mask;
  int64_t run, mask_run;
  RowCoefficients<T, kNHWC> mean, scale, bias;

  GradientRow(const BatchNormGradient& p, const Coefficients<T>& coefficients, int64_t row)
      : grad(at(p.grad, p, row)),
        grad2(at(p.grad2, p, row)),
        x(at(p.x, p, row)),
        residual(at(p.residual, p, row)),
        mask(static_cast<const char*>(p.mask) + (kGate == ReluGate::kMask ? row * p.shape.mask_row_bytes() : 0)),
        run(p.shape.run()),
        mask_run(p.shape.mask_row_bytes()),
        mean(coefficients.first, p.shape, row),
        scale(coefficients.second, p.shape, row),
        bias(coefficients.third, p.shape, row) {}

  static const T* at(const void* base, const BatchNormGradient& p, int64_t row) {
    return base ? static_cast<const T*>(base) + row * p.shape.run() : nullptr;
  }

  void prefetch(int64_t r, int64_t i) const {
    for (const T* from : {x, grad}) __builtin_prefetch(from + r * run + i + kAhead<T>);
  }

  Block<T> centred(int64_t r, int64_t i, int64_t width) const {
    return load_block(x + r * run + i, width) - mean.at(i);
  }

  Block<T> gradient(int64_t r, int64_t i, int64_t width, const Block<T>& centred) const {
    const int64_t place = r * run + i;
    Block<T> g = load_block(grad + place, width);
    if (grad2) g = g + load_block(grad2 + place, width);
    if constexpr (kGate == ReluGate::kMask) {
      uint16_t bits;
      std::memcpy(&bits, mask + r * mask_run + i / 8, sizeof(bits));
      g = keep(g, bits);
    } else if constexpr (kGate == ReluGate::kRecompute) {
      Block<T> y = centred * scale.at(i) + bias.at(i);
      if (residual) y = y + load_block(residual + place, width);
      g = keep(g, positive_bits(y));
    }
    return g;
  }
};

// sums += g and g * (x - mean) of kRows rows, all channels.
template <int kRows, class T, ReluGate kGate>
void reduce_rows(const BatchNormBackwardReduce& p, const Coefficients<T>& coefficients, RowWriter<T> masked,
                 const ChunkSums<T>& sums, int64_t row) {
  const BatchNormShape& s = p.gradient.shape;
  const GradientRow<T, true, kGate> in(p.gradient, coefficients, row);
  for_each_block(s.c, [&](int64_t i, auto width) {
    Block<T> sum = load_scalars<T>(sums.first + i), product = load_scalars<T>(sums.second + i);
    for (int r = 0; r < kRows; ++r) {
      in.prefetch(r, i);
      const Block<T> centred = in.centred(r, i, width), g = in.gradient(r, i, width, centred);
      if (masked) masked.store(row + r, i, g, width);
      sum = sum + g;
      product = product + g * centred;
    }
    store_scalars<T>(sums.first + i, sum);
    store_scalars<T>(sums.second + i, product);
  });
}

// sums of g and g * (x - mean) of one chunk
template <class T, ReluGate kGate>
void reduce_chunk_nhwc(const BatchNormBackwardReduce& p, const Coefficients<T>& coefficients, RowWriter<T> masked,
                       int64_t chunk) {
  const BatchNormShape& s = p.gradient.shape;
  const ChunkSums<T> sums(p.workspace, s, chunk);
  std::fill(sums.first, sums.first + 2 * s.padded_c(), 0);
  int64_t row = chunk * s.chunk_rows();
  const int64_t end = row + s.chunk_count(chunk);
  for (; row + kRowsAtOnce <= end; row += kRowsAtOnce)
    reduce_rows<kRowsAtOnce, T, kGate>(p, coefficients, masked, sums, row);
  for (; row < end; ++row) reduce_rows<1, T, kGate>(p, coefficients, masked, sums, row);
  end_streaming();
}

template <class T, ReluGate kGate>
void reduce_plane_nchw(const BatchNormBackwardReduce& p, const Coefficients<T>& coefficients, RowWriter<T> masked,
                       int64_t row) {
  const BatchNormShape& s = p.gradient.shape;
  const GradientRow<T, false, kGate> in(p.gradient, coefficients, row);
  Block<T> sum = {}, product = {};
  for (int64_t i = 0; i < s.hw; i += kBlock) {
    const int64_t width = s.hw - i;
    const Block<T> centred = in.centred(0, i, width),
                   g = in.gradient(0, i, width, centred);  // g is 0 past the row's end
    if (masked) masked.store(row, i, g, width);
    sum = sum + g;
    product = product + g * centred;
  }
  const ChunkSums<T> sums(p.workspace, s, row / s.c);
  sums.first[row % s.c] = sum_lanes(sum);
  sums.second[row % s.c] = sum_lanes(product);
  end_streaming();
}

template <class T>
void merge_sums(const BatchNormBackwardReduce& p, int64_t begin, int64_t end) {
  using S = Scalar<T>;
  const BatchNormGradient& in = p.gradient;
  const int64_t width = end - begin, chunks = in.shape.chunks();
  std::vector<double> sum(width, 0.0), product(width, 0.0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const ChunkSums<T> sums(p.workspace, in.shape, chunk);
    for (int64_t i = 0; i < width; ++i) {
      sum[i] += sums.first[begin + i];
      product[i] += sums.second[begin + i];
    }
  }
  for (int64_t i = 0; i < width; ++i) {
    const double var = static_cast<const S*>(in.var)[begin + i];
    static_cast<S*>(p.bias_grad)[begin + i] = static_cast<S>(sum[i]);
    static_cast<S*>(p.weight_grad)[begin + i] = static_cast<S>(product[i] / std::sqrt(var + in.eps));
  }
}

// slope and offset of x_grad = scale * g + slope * (x - mean) + offset (first and second; third is not used)
template <class T>
Coefficients<T> apply_coefficients(const BatchNormBackwardApply& p, const Coefficients<T>& affine) {
  using S = Scalar<T>;
  Coefficients<T> result(p.gradient.shape);
  if (!p.batch_statistics) return result;
  for (int64_t c = 0; c < p.gradient.shape.c; ++c) {
    const double scale = affine.second[c], var = static_cast<const S*>(p.gradient.var)[c];
    const double inverse = 1.0 / std::sqrt(var + p.gradient.eps);
    result.first[c] = static_cast<S>(-scale * inverse * static_cast<const S*>(p.weight_grad)[c] / p.count);
    result.second[c] = static_cast<S>(-scale * static_cast<const S*>(p.bias_grad)[c] / p.count);
  }
  return result;
}

template <class T, bool kNHWC, ReluGate kGate>
void apply_row(const BatchNormBackwardApply& p, const Coefficients<T>& affine, const Coefficients<T>& line,
               RowWriter<T> x_grad, int64_t row) {
  const BatchNormShape& s = p.gradient.shape;
  const GradientRow<T, kNHWC, kGate> in(p.gradient, affine, row);
  const RowCoefficients<T, kNHWC> slope(line.first, s, row), offset(line.second, s, row);
  const T* addend = in.at(p.addend, p.gradient, row);
  for_each_block(s.run(), [&](int64_t i, auto width) {
    const Block<T> centred = in.centred(0, i, width), g = in.gradient(0, i, width, centred);
    Block<T> result = in.scale.at(i) * g + (slope.at(i) * centred + offset.at(i));
    if (addend) result = result + load_block(addend + i, width);
    x_grad.store(row, i, result, width);
  });
}

// Calls f(TypeTag<T>, is NHWC, integral_constant<ReluGate>).
template <class F>
void dispatch_gradient(const BatchNormGradient& p, const char* op, const F& f) {
  dispatch_batch_norm(p.shape, op, [&](auto tag, auto is_nhwc) {
    switch (p.gate) {
      case ReluGate::kNone:
        return f(tag, is_nhwc, std::integral_constant<ReluGate, ReluGate::kNone>{});
      case ReluGate::kMask:
        return f(tag, is_nhwc, std::integral_constant<ReluGate, ReluGate::kMask>{});
      case ReluGate::kRecompute:
        return f(tag, is_nhwc, std::integral_constant<ReluGate, ReluGate::kRecompute>{});
    }
  });
}

}  // namespace

void batch_norm_backward_reduce(const BatchNormBackwardReduce& p, Exec exec) {
  const BatchNormShape& s = p.gradient.shape;
  dispatch_gradient(p.gradient, "batch_norm_backward_reduce", [&](auto tag, auto is_nhwc, auto gate) {
    using T = typename decltype(tag)::type;
    const Coefficients<T> coefficients = affine_coefficients<T>(p.gradient);
    const RowWriter<T> masked(p.masked, s);
    for_each_part(s, exec, [&](int64_t part) {
      if constexpr (is_nhwc)
        reduce_chunk_nhwc<T, gate>(p, coefficients, masked, part);
      else
        reduce_plane_nchw<T, gate>(p, coefficients, masked, part);
    });
    parallel_for(s.c, kBatchNormGrain / std::max<int64_t>(s.chunks(), 1), exec,
                 [&](int64_t begin, int64_t end, int) { merge_sums<T>(p, begin, end); });
  });
}

void batch_norm_backward_apply(const BatchNormBackwardApply& p, Exec exec) {
  const BatchNormShape& s = p.gradient.shape;
  dispatch_gradient(p.gradient, "batch_norm_backward_apply", [&](auto tag, auto is_nhwc, auto gate) {
    using T = typename decltype(tag)::type;
    const Coefficients<T> affine = affine_coefficients<T>(p.gradient), line = apply_coefficients<T>(p, affine);
    const RowWriter<T> x_grad(p.x_grad, s);
    for_each_row_backwards(s, exec, [&](int64_t row) { apply_row<T, is_nhwc, gate>(p, affine, line, x_grad, row); });
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
