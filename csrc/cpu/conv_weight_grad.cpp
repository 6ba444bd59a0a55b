// Gradient of the weight of a convolution, float32, NHWC: 3x3 in the Winograd domain, any kernel by the direct sum.
//
//   weight_grad = W'( sum over tiles of  A(grad tile) (x) B(input tile) )
//
// B is the input transform, A and W' are the adjoints of the output and weight transforms (conv_transform.h), (x) is
// the outer product over channels, one for each of points^2: 2.25 (F(2,3)) or 4 (F(4,3)) times fewer multiplications
// than the direct sum over pixels, at stride 2 1.44 or 1.78 times. (F(6,3) was no faster than F(4,3): more sums to
// transform back.) The direct sum is the same with pixels for tiles, taps x channels for input channels, and one point.
//
// A chunk of tiles is transformed into two panels (points x channel blocks x tiles x lanes) that share the L3 cache.
// Then jobs of kJobK x kJobC filters sum their products over the chunk, all points in a scratch that stays in L2, and
// after the last chunk transform them back. With one chunk that scratch is each thread's own; else the sums of all
// filters wait in memory. Each filter is summed by one thread in the order of the tiles: the result does not depend on
// the number of threads. Bound by the FMA units on large maps, by writing the result on the smallest.
#include "cpu/conv_weight_grad.h"

#include "common/ops.h"
#include "cpu/buffer.h"
#include "cpu/conv_transform.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int64_t kJobK = 64, kJobC = 64;  // filters of a job
constexpr int64_t kChunkBytes = 2 << 20;   // both panels, if that is more than kSumTiles
constexpr int64_t kSumTiles = 64;          // of one sum in registers; its operands stay in L1

template <class Domain>
class WeightGrad {
 public:
  WeightGrad(const ConvWeightGrad& problem, const ConvLayout& layout)
      : problem_(problem), s_(problem.shape), x_layout_(layout), g_layout_(layout) {
    g_layout_.rows = s_.k, g_layout_.blocks = ceil_div(s_.k, kConvLanes);
    const int64_t tile_bytes = kAll * (x_layout_.blocks + g_layout_.blocks) * kConvLanes * sizeof(float);
    const int64_t most = std::max<int64_t>(kChunkBytes / tile_bytes, kSumTiles);
    chunks_ = ceil_div(layout.tiles, most);
    x_layout_.tile_block = g_layout_.tile_block = ceil_div(layout.tiles, chunks_);
    c_jobs_ = ceil_div(layout.rows, kJobC), jobs_ = ceil_div(s_.k, kJobK) * c_jobs_;
    conv_.shape = s_, conv_.x = problem.x;
  }

  void run() {
    const int64_t v = kAll * x_layout_.v_point(), g = kAll * g_layout_.v_point();
    const int64_t sums = (chunks_ == 1 ? x_layout_.threads : jobs_) * kSums;
    const int64_t scratch = x_layout_.threads * x_layout_.scratch_floats();
    Workspace workspace{v, g, sums, scratch};
    v_ = workspace.take(v), g_ = workspace.take(g), sums_ = workspace.take(sums), scratch_ = workspace.take(scratch);
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const int64_t first = chunk * x_layout_.tile_block;
      const int64_t count = std::min(x_layout_.tile_block, x_layout_.tiles - first);
      if (count <= 0) break;
      transform(first, count);
      parallel_for(jobs_, 1, x_layout_.threads, [&](int64_t begin, int64_t end, int slot) {
        for (int64_t job = begin; job < end; ++job)
          sum(job, count, sums_ + (chunks_ == 1 ? slot : job) * kSums, chunk == 0, first + count == x_layout_.tiles);
      });
    }
  }

 private:
  static constexpr int kAll = Domain::kAll;
  static constexpr int64_t kSumPoint = kJobK * kJobC + kConvLanes, kSums = kAll * kSumPoint;

  void transform(int64_t first, int64_t count) {
    parallel_for(count, kAll > 1 ? 1 : kSumTiles, x_layout_.threads, [&](int64_t begin, int64_t end, int slot) {
      float* scratch = scratch_ + slot * x_layout_.scratch_floats();
      for (int64_t t = begin; t < end; ++t) {
        Domain::gather(problem_, g_layout_, first + t, t, g_);
        Domain::Input::gather(conv_, x_layout_, first + t, t, v_, scratch);
      }
    });
  }

  void sum(int64_t job, int64_t tiles, float* sums, bool begin, bool end) {
    const int64_t k0 = job / c_jobs_ * kJobK, c0 = job % c_jobs_ * kJobC;
    const int64_t k_count = std::min(kJobK, s_.k - k0), c_count = std::min(kJobC, x_layout_.rows - c0);
    for (int p = 0; p < kAll; ++p) {
      float* m = sums + p * kSumPoint;
      if (begin) std::memset(m, 0, kJobK * kJobC * sizeof(float));
      const float* g = g_ + p * g_layout_.v_point() + k0 / kConvLanes * g_layout_.v_block();
      const float* v = v_ + p * x_layout_.v_point() + c0 / kConvLanes * x_layout_.v_block();
      for (int64_t t = 0; t < tiles; t += kSumTiles)
        for (int64_t k = 0; k < k_count; k += kOuterRows) {
          const float* rows = g + k / kConvLanes * g_layout_.v_block() + t * kConvLanes + k % kConvLanes;
          row(rows, v + t * kConvLanes, c_count, std::min(kSumTiles, tiles - t), m + k * kJobC);
        }
    }
    if (end) finish(sums, k0, k_count, c0, c_count);
  }

  void row(const float* g, const float* v, int64_t c_count, int64_t tiles, float* m) const {
    const int64_t block = x_layout_.v_block();
    int64_t c = 0;
    for (; c + kConvLanes < c_count; c += 2 * kConvLanes)
      add_outer_products<2>(g, v + c / kConvLanes * block, block, tiles, m + c, kJobC);
    if (c < c_count) add_outer_products<1>(g, v + c / kConvLanes * block, block, tiles, m + c, kJobC);
  }

  void finish(const float* sums, int64_t k0, int64_t k_count, int64_t c0, int64_t c_count) const {
    for (int64_t k = 0; k < k_count; ++k)
      for (int64_t c = 0; c < c_count; c += kConvLanes)
        Domain::finish(problem_, sums + k * kJobC + c, kSumPoint, k0 + k, c0 + c);
  }

  const ConvWeightGrad& problem_;
  const ConvShape& s_;
  Conv conv_;
  ConvLayout x_layout_, g_layout_;
  int64_t chunks_, c_jobs_, jobs_;
  float *v_, *g_, *sums_, *scratch_;
};

}  // namespace

void conv_weight_grad(const ConvWeightGrad& problem, Exec exec) {
  HGFAST_CHECK(problem.shape.algorithm != 0, "conv_weight_grad: the shape must name the algorithm");
  const ConvLayout layout = conv_layout(problem.shape, exec);
  switch (layout.tiling.algorithm) {
    case ConvAlgorithm::kF23:
      return WeightGrad<WinogradGradient<F23>>(problem, layout).run();
    case ConvAlgorithm::kF43:
      return WeightGrad<WinogradGradient<F43>>(problem, layout).run();
    case ConvAlgorithm::kS23:
      return WeightGrad<WinogradGradient<S23>>(problem, layout).run();
    case ConvAlgorithm::kDirect:
      return WeightGrad<DirectGradient>(problem, layout).run();
    default:
      fail_value(
          "conv_weight_grad: it is made for the direct algorithm, F(2,3), F(4,3) and F(2,3)/2, not for algorithm ",
          problem.shape.algorithm);
  }
}

}  // namespace hgfast::cpu::HGFAST_ISA
