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
// filters wait in memory. Where there are too few jobs for the threads they share the points of a job, and then its
// filters. The few filters of a 1x1 convolution are summed for kSlices parts of the tiles instead, each by one thread
// from panels of its own: what a core has gathered need not go to another. Sums are made in the order of the tiles and
// the slices: the result does not depend on the number of threads. Bound by the FMA units on large maps, by writing the
// result on the smallest.
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
constexpr int64_t kSlices = 8;             // of the tiles, where there are few jobs
constexpr int64_t kFewJobs = 16;
constexpr int64_t kJobsPerThread = 4;       // fewer may leave threads idle at the end
constexpr int64_t kSliceBytes = 256 << 10;  // both panels of a thread that sums a slice

template <class Domain>
class WeightGrad {
 public:
  WeightGrad(const ConvWeightGrad& problem, const ConvLayout& layout)
      : problem_(problem), s_(problem.shape), x_layout_(layout), g_layout_(layout) {
    g_layout_.rows = s_.k, g_layout_.blocks = ceil_div(s_.k, kConvLanes);
    const int64_t most = std::max<int64_t>(kChunkBytes / tile_bytes(), kSumTiles);
    chunks_ = ceil_div(layout.tiles, most);
    x_layout_.tile_block = g_layout_.tile_block = ceil_div(layout.tiles, chunks_);
    c_jobs_ = ceil_div(layout.rows, kJobC), jobs_ = ceil_div(s_.k, kJobK) * c_jobs_;
    conv_.shape = s_, conv_.x = problem.x;
  }

  void run() {
    if (kAll == 1 && jobs_ <= kFewJobs && x_layout_.tiles >= 2 * kSlices * kSumTiles)
      run_slices();
    else
      run_chunks();
  }

 private:
  static constexpr int kAll = Domain::kAll;
  static constexpr int64_t kSumPoint = kJobK * kJobC + kConvLanes, kSums = kAll * kSumPoint;

  struct Panels {
    float *v, *g, *scratch;
  };

  int64_t panel_floats() const { return kAll * (x_layout_.v_point() + g_layout_.v_point()); }

  Panels panels(float* at, float* scratch) const { return {at, at + kAll * x_layout_.v_point(), scratch}; }

  // All threads fill the panels of a chunk, each then to take jobs, or points of jobs.
  void run_chunks() {
    const int64_t scratch_floats = x_layout_.scratch_floats();
    const int64_t threads = x_layout_.threads;
    const bool by_points = kAll > 1 && threads > 1 && jobs_ < kJobsPerThread * threads;
    const bool own_sums = chunks_ == 1 && !by_points;
    const int64_t sums_floats = (own_sums ? threads : jobs_) * kSums;
    Workspace workspace{panel_floats(), sums_floats, threads * scratch_floats};
    float *shared = workspace.take(panel_floats()), *sums = workspace.take(sums_floats);
    float* scratch = workspace.take(threads * scratch_floats);
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const int64_t first = chunk * x_layout_.tile_block;
      const int64_t count = std::min(x_layout_.tile_block, x_layout_.tiles - first);
      if (count <= 0) break;
      parallel_for(count, kAll > 1 ? 1 : kSumTiles, threads, [&](int64_t begin, int64_t end, int slot) {
        gather(first, begin, end, panels(shared, scratch + slot * scratch_floats));
      });
      const bool last = first + count == x_layout_.tiles;
      if (by_points) {
        sum_points(count, panels(shared, nullptr), sums, chunk == 0, last);
        continue;
      }
      parallel_for(jobs_, 1, threads, [&](int64_t begin, int64_t end, int slot) {
        for (int64_t job = begin; job < end; ++job) {
          float* to = sums + (own_sums ? slot : job) * kSums;
          sum(job, count, panels(shared, nullptr), to, chunk == 0);
          if (last) finish(job, to);
        }
      });
    }
  }

  // The jobs of a chunk, shared point by point, and after the last chunk filter by filter.
  void sum_points(int64_t count, const Panels& panels, float* sums, bool begin_sums, bool last) const {
    parallel_for(jobs_ * kAll, 1, x_layout_.threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        sum_point(job_of(i / kAll), i % kAll, count, panels, sums + i / kAll * kSums, begin_sums);
    });
    if (!last) return;
    parallel_for(jobs_ * kJobK, 4, x_layout_.threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) finish_filters(job_of(i / kJobK), i % kJobK, sums + i / kJobK * kSums);
    });
  }

  // Few jobs, with small sums: each thread makes all sums of a slice of the tiles, whose panels stay in its own cache,
  // and those of the slices are added in their order.
  void run_slices() {
    x_layout_.tile_block = g_layout_.tile_block =
        std::max<int64_t>(kSliceBytes / tile_bytes() / kSumTiles, 1) * kSumTiles;
    const int64_t own = panel_floats() + x_layout_.scratch_floats() + ConvLayout::kApart;
    Workspace workspace{kSlices * jobs_ * kSums, x_layout_.threads * own};
    float *sums = workspace.take(kSlices * jobs_ * kSums), *all_panels = workspace.take(x_layout_.threads * own);
    parallel_for(kSlices, 1, x_layout_.threads, [&](int64_t begin, int64_t end, int slot) {
      float* at = all_panels + slot * own;
      for (int64_t slice = begin; slice < end; ++slice)
        sum_slice(slice, panels(at, at + panel_floats()), sums + slice * jobs_ * kSums);
    });
    parallel_for(jobs_, 1, x_layout_.threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t job = begin; job < end; ++job) {
        float* total = sums + job * kSums;
        for (int64_t slice = 1; slice < kSlices; ++slice)
          for (int64_t i = 0; i < kJobK * kJobC; i += kConvLanes)
            store(total + i, load(total + i) + load(total + slice * jobs_ * kSums + i));
        finish(job, total);
      }
    });
  }

  void sum_slice(int64_t slice, const Panels& panels, float* sums) const {
    const int64_t begin = x_layout_.tiles * slice / kSlices, end = x_layout_.tiles * (slice + 1) / kSlices;
    for (int64_t first = begin; first < end; first += x_layout_.tile_block) {
      const int64_t count = std::min(x_layout_.tile_block, end - first);
      gather(first, 0, count, panels);
      for (int64_t job = 0; job < jobs_; ++job) sum(job, count, panels, sums + job * kSums, first == begin);
    }
  }

  void gather(int64_t first, int64_t begin, int64_t end, const Panels& panels) const {
    for (int64_t t = begin; t < end; ++t) {
      Domain::gather(problem_, g_layout_, first + t, t, panels.g);
      Domain::Input::gather(conv_, x_layout_, first + t, t, panels.v, panels.scratch);
    }
  }

  struct Job {
    int64_t k, k_count, c, c_count;
  };

  Job job_of(int64_t number) const {
    const int64_t k = number / c_jobs_ * kJobK, c = number % c_jobs_ * kJobC;
    return {k, std::min(kJobK, s_.k - k), c, std::min(kJobC, x_layout_.rows - c)};
  }

  void sum(int64_t number, int64_t tiles, const Panels& panels, float* sums, bool begin) const {
    for (int p = 0; p < kAll; ++p) sum_point(job_of(number), p, tiles, panels, sums, begin);
  }

  void sum_point(const Job& job, int64_t p, int64_t tiles, const Panels& panels, float* sums, bool begin) const {
    float* m = sums + p * kSumPoint;
    if (begin) std::memset(m, 0, kJobK * kJobC * sizeof(float));
    const float* g = panels.g + p * g_layout_.v_point() + job.k / kConvLanes * g_layout_.v_block();
    const float* v = panels.v + p * x_layout_.v_point() + job.c / kConvLanes * x_layout_.v_block();
    for (int64_t t = 0; t < tiles; t += kSumTiles)
      for (int64_t k = 0; k < job.k_count; k += kOuterRows) {
        const float* rows = g + k / kConvLanes * g_layout_.v_block() + t * kConvLanes + k % kConvLanes;
        row(rows, v + t * kConvLanes, job.c_count, std::min(kSumTiles, tiles - t), m + k * kJobC);
      }
  }

  void row(const float* g, const float* v, int64_t c_count, int64_t tiles, float* m) const {
    const int64_t block = x_layout_.v_block();
    int64_t c = 0;
    for (; c + kConvLanes < c_count; c += 2 * kConvLanes)
      add_outer_products<2>(g, v + c / kConvLanes * block, block, tiles, m + c, kJobC);
    if (c < c_count) add_outer_products<1>(g, v + c / kConvLanes * block, block, tiles, m + c, kJobC);
  }

  void finish(int64_t number, const float* sums) const {
    for (int64_t k = 0; k < kJobK; ++k) finish_filters(job_of(number), k, sums);
  }

  // Those of the job's k-th output channel, if it has so many.
  void finish_filters(const Job& job, int64_t k, const float* sums) const {
    for (int64_t c = 0; k < job.k_count && c < job.c_count; c += kConvLanes)
      Domain::finish(problem_, sums + k * kJobC + c, kSumPoint, job.k + k, job.c + c);
  }

  int64_t tile_bytes() const { return kAll * (x_layout_.blocks + g_layout_.blocks) * kConvLanes * sizeof(float); }

  const ConvWeightGrad& problem_;
  const ConvShape& s_;
  Conv conv_;
  ConvLayout x_layout_, g_layout_;
  int64_t chunks_, c_jobs_, jobs_;
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
