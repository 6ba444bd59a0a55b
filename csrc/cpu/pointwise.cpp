// Sums, ReLU and its gradient, sums over a channel, running statistics; float32.
//
// Pointwise: 1 or 2 reads and 1 write of 4 bytes an element, one operation: bound by memory. ChannelSum: one read; four
// rows at a time are added to a chunk's sums, which stay in L1, and those of the chunks in their order in double, so
// that the result does not depend on the number of threads.
#include "common/ops.h"
#include "cpu/batch_norm_act.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int64_t kGrain = 32768;  // elements that a thread claims at once

struct Sum {
  static VecF vector(VecF a, VecF b) { return a + b; }
  static float scalar(float a, float b) { return a + b; }
};
struct Relu {
  static VecF vector(VecF a, VecF) { return a < 0 ? VecF{} : a; }
  static float scalar(float a, float) { return a < 0 ? 0.0f : a; }
};
struct ReluBackward {
  static VecF vector(VecF a, VecF b) { return b <= 0 ? VecF{} : a; }
  static float scalar(float a, float b) { return b <= 0 ? 0.0f : a; }
};

template <class F>
void for_each_element(const Pointwise& p, Exec exec) {
  const float* second = p.b ? p.b : p.a;
  parallel_for(p.count, kGrain, exec, [&](int64_t begin, int64_t end, int) {
    int64_t i = begin;
    for (; i + kLanes<float> <= end; i += kLanes<float>) store(p.out + i, F::vector(load(p.a + i), load(second + i)));
    for (; i < end; ++i) p.out[i] = F::scalar(p.a[i], second[i]);
  });
}

void sum_rows(const float* rows, int64_t count, int64_t c, float* sums) {
  for_each_block(c, [&](int64_t i, auto width) {
    Block<float> sum = load_scalars<float>(sums + i);
    for (int64_t r = 0; r < count; ++r) sum = sum + load_block(rows + r * c + i, width);
    store_scalars<float>(sums + i, sum);
  });
}

}  // namespace

void pointwise(const Pointwise& p, Exec exec) {
  switch (p.kind) {
    case PointwiseKind::kSum:
      return for_each_element<Sum>(p, exec);
    case PointwiseKind::kRelu:
      return for_each_element<Relu>(p, exec);
    case PointwiseKind::kReluBackward:
      return for_each_element<ReluBackward>(p, exec);
  }
}

void channel_sum(const ChannelSum& p, Exec exec) {
  const BatchNormShape& s = p.shape;
  for_each_part(s, exec, [&](int64_t chunk) {
    float* sums = ChunkSums<float>(p.workspace, s, chunk).first;
    std::fill(sums, sums + s.padded_c(), 0.0f);
    const float* x = p.x + chunk * s.chunk_rows() * s.c;
    const int64_t rows = s.chunk_count(chunk);
    for (int64_t r = 0; r < rows; r += kRowsAtOnce) sum_rows(x + r * s.c, std::min(kRowsAtOnce, rows - r), s.c, sums);
  });
  for (int64_t c = 0; c < s.c; ++c) {
    double total = 0;
    for (int64_t chunk = 0; chunk < s.chunks(); ++chunk) total += ChunkSums<float>(p.workspace, s, chunk).first[c];
    p.sum[c] = static_cast<float>(total);
  }
}

void move_running(const MoveRunning& p, Exec) {
  for (int64_t c = 0; c < p.c; ++c) {
    p.running_mean[c] = static_cast<float>(moved(p.running_mean[c], p.mean[c], p.momentum));
    p.running_var[c] = static_cast<float>(moved(p.running_var[c], of_sample(p.var[c], p.count), p.momentum));
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
