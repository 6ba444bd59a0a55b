// Gradient of the input of a convolution of stride 2, float32, NHWC, plus an addend: 3x3 or 1x1.
//
// Of a pixel's two coordinates an even one, 2a, has met tap 1 at output a only, an odd one, 2a + 1, tap 2 at a and tap
// 0 at a + 1. So the pixels of each of the four parities are a small convolution of the gradient with 1, 2, 2 and 4 of
// the nine taps, 9/4 multiplications a pixel and channel in all, and nothing is multiplied with a zero in between (a
// convolution of the gradient with zeros put between its pixels takes four times as many).
//
// A block of output pixels is gathered into the panel V: for each the gradient at its right, at itself, below, and
// below at its right, each as blocks of lanes of channels. In that order the taps of each parity are neighbours, and
// one V serves four GEMMs (conv_gemm.h), whose sums go from registers to the pixels of their parity, two apart. Weights
// are packed at each call, 9 k rows of a group of input channels. Reads the gradient and the addend, writes the result
// once: bound by the FMA units. Threads share the blocks, or where these are few also the groups of channels.
#include "common/ops.h"
#include "cpu/buffer.h"
#include "cpu/conv_epilogue.h"
#include "cpu/conv_product.h"
#include "cpu/conv_weights.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

constexpr int64_t kPanelBytes = 256 << 10;  // of V, which stays in L2 beside the weights of a group

// Where V's parts are from an output pixel.
struct Neighbour {
  int64_t down, right;
};
constexpr Neighbour kNeighbours[] = {{0, 1}, {0, 0}, {1, 0}, {1, 1}};

// The input pixels (2a + down, 2b + right): they read V's parts first .. first + count, each with its tap.
struct Parity {
  int64_t down, right;
  int first, count;
  int taps[4];
};
constexpr Parity kParities3[] = {
    {0, 0, 1, 1, {4}}, {0, 1, 0, 2, {3, 5}}, {1, 0, 1, 2, {7, 1}}, {1, 1, 0, 4, {6, 8, 2, 0}}};
constexpr Parity kParities1[] = {{0, 0, 1, 1, {0}}, {0, 1, 0, 0, {}}, {1, 0, 0, 0, {}}, {1, 1, 0, 0, {}}};

// An output pixel of a block: offset of input pixel (2a, 2b), and which of its neighbours there are.
struct Pixel {
  int64_t offset;
  bool has[2][2];
};

// Adds the addend to the sums of a GEMM's rows and stores them.
struct ParitySink {
  struct Ahead {
    void fetch() const {}
  };

  const ConvStridedGrad& problem;
  const Pixel* pixels;
  const Parity& parity;
  int64_t channel;

  Ahead ahead(int64_t, int64_t, int64_t) const { return {}; }

  template <int kRows, int kVecs>
  void take(VecF (&sum)[kRows][kVecs], int64_t row) const {
    const ConvShape& s = problem.shape;
    const int64_t distance = (parity.down * s.w + parity.right) * s.c + channel;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Pixel& pixel = pixels[row + i];
      if (!pixel.has[parity.down][parity.right]) continue;
#pragma GCC unroll 2
      for (int j = 0; j < kVecs; ++j) {
        const int64_t lanes = s.c - channel - j * kConvLanes;
        if (lanes <= 0) break;
        const int64_t at = pixel.offset + distance + j * kConvLanes;
        const VecF added = problem.addend ? sum[i][j] + load_lanes(problem.addend + at, lanes) : sum[i][j];
        store_lanes(problem.x_grad + at, added, lanes);
      }
    }
  }
};

class StridedGrad {
 public:
  StridedGrad(const ConvStridedGrad& problem, Exec exec)
      : problem_(problem),
        s_(problem.shape),
        parities_(s_.kernel == 3 ? kParities3 : kParities1),
        threads_(std::max<Exec>(exec, 1)),
        part_(ceil_div(s_.k, kConvLanes)),
        rows_(s_.kernel * s_.kernel * part_ * kConvLanes),
        groups_(ceil_div(s_.c, kGemmWidth)),
        pixels_(s_.n * s_.p * s_.q) {
    const int64_t pixel_bytes = 4 * part_ * kConvLanes * static_cast<int64_t>(sizeof(float));
    const int64_t most = std::max<int64_t>(kPanelBytes / pixel_bytes / kGemmRows, 1) * kGemmRows;
    const int64_t blocks = std::max(ceil_div(pixels_, most), std::min(threads_, ceil_div(pixels_, kGemmRows)));
    block_ = ceil_div(pixels_, blocks);
    blocks_ = ceil_div(pixels_, block_);
  }

  void run() {
    const int64_t panel = 4 * v_part(), packed = groups_ * rows_ * kGemmWidth;
    const int64_t pixel_floats = block_ * static_cast<int64_t>(sizeof(Pixel) / sizeof(float));
    Workspace workspace{packed, threads_ * panel, threads_ * pixel_floats};
    packed_ = workspace.take(packed);
    float* panels = workspace.take(threads_ * panel);
    float* pixels = workspace.take(threads_ * pixel_floats);
    parallel_for(groups_, 1, threads_, [&](int64_t begin, int64_t end, int) {
      for (int64_t group = begin; group < end; ++group) pack(group);
    });
    const int64_t parts = blocks_ < threads_ ? std::min(groups_, ceil_div(threads_, blocks_)) : 1;
    parallel_for(blocks_ * parts, 1, threads_, [&](int64_t begin, int64_t end, int slot) {
      float* v = panels + slot * panel;
      auto* places = reinterpret_cast<Pixel*>(pixels + slot * pixel_floats);
      for (int64_t item = begin; item < end; ++item) {
        const int64_t first = item / parts * block_, count = std::min(block_, pixels_ - first), part = item % parts;
        gather(first, count, v, places);
        for (int64_t group = groups_ * part / parts; group < groups_ * (part + 1) / parts; ++group)
          multiply(group, count, v, places);
      }
    });
  }

 private:
  int64_t v_part() const { return part_ * block_ * kConvLanes; }
  int width(int64_t group) const { return s_.c - group * kGemmWidth <= kConvLanes ? kConvLanes : kGemmWidth; }

  // The rows of each parity in turn, its taps one after the other, each with all channels of the gradient.
  void pack(int64_t group) const {
    const int64_t taps = s_.kernel * s_.kernel;
    const WeightView view = WeightView::dense(problem_.weight, s_.c, taps, problem_.weight_channels_last != 0);
    const int columns = width(group);
    float* to = packed_ + group * rows_ * kGemmWidth;
    Buffer<VecF> filters;
    filters.reserve(kConvLanes * taps);
    for (int64_t k = 0; k < s_.k; k += kConvLanes)
      for (int64_t j = 0; j < columns; j += kConvLanes) {
        const int64_t c = group * kGemmWidth + j, count = std::min<int64_t>(kConvLanes, s_.k - k);
        load_weights(view.transposed(), c, std::min<int64_t>(kConvLanes, s_.c - c), k, count, taps, filters.data());
        int64_t row = 0;
        for (int parity = 0; parity < 4; ++parity)
          for (int i = 0; i < parities_[parity].count; ++i, row += part_ * kConvLanes)
            for (int64_t l = 0; l < kConvLanes; ++l) {  // the transposed view turns the filter round
              const VecF w = l < count ? filters.data()[l * taps + taps - 1 - parities_[parity].taps[i]] : VecF{};
              store(to + (row + k + l) * columns + j, w);
            }
      }
  }

  void gather(int64_t first, int64_t count, float* v, Pixel* pixels) const {
    for (int64_t t = 0; t < count; ++t) {
      const int64_t b = (first + t) % s_.q, line = (first + t) / s_.q, a = line % s_.p, image = line / s_.p;
      const bool below = 2 * a + 1 < s_.h, right = 2 * b + 1 < s_.w;
      pixels[t] = {((image * s_.h + 2 * a) * s_.w + 2 * b) * s_.c, {{true, right}, {below, below && right}}};
      for (int i = s_.kernel == 3 ? 0 : 1; i < (s_.kernel == 3 ? 4 : 2); ++i) {
        const Neighbour& at = kNeighbours[i];
        const bool inside = a + at.down < s_.p && b + at.right < s_.q;
        const float* from = problem_.grad + (first + t + at.down * s_.q + at.right) * s_.k;
        float* to = v + i * v_part() + t * kConvLanes;
        for (int64_t k = 0; k < s_.k; k += kConvLanes, to += block_ * kConvLanes)
          store(to, inside ? load_lanes(from + k, s_.k - k) : VecF{});
      }
    }
  }

  void multiply(int64_t group, int64_t count, const float* v, const Pixel* pixels) const {
    const int columns = width(group);
    const float* u = packed_ + group * rows_ * kGemmWidth;
    for (int i = 0; i < 4; ++i) {
      const Parity& parity = parities_[i];
      const int64_t blocks = parity.count * part_;
      const float* next = u + blocks * kConvLanes * columns;
      const PanelRows rows{v + parity.first * v_part(), block_ * kConvLanes};
      multiply_panel<FloatProduct>(rows, count, u, blocks, columns,
                                   ParitySink{problem_, pixels, parity, group * kGemmWidth}, i < 3 ? next : u);
      u = next;
    }
  }

  const ConvStridedGrad& problem_;
  const ConvShape& s_;
  const Parity* parities_;
  const int64_t threads_;
  const int64_t part_;           // blocks of lanes of the gradient's channels
  const int64_t rows_, groups_;  // of the packed weights: rows of a group of input channels
  const int64_t pixels_;
  int64_t block_, blocks_;
  float* packed_ = nullptr;
};

}  // namespace

void conv_strided_grad(const ConvStridedGrad& problem, Exec exec) {
  const ConvShape& s = problem.shape;
  HGFAST_CHECK(s.stride == 2 && (s.kernel == 1 || s.kernel == 3),
               "conv_strided_grad: takes 1x1 and 3x3 kernels of stride 2, got ", s.kernel, "x", s.kernel, " of stride ",
               s.stride);
  if (s.n * s.p * s.q == 0 || s.c == 0) return;
  StridedGrad(problem, exec).run();
}

}  // namespace hgfast::cpu::HGFAST_ISA
