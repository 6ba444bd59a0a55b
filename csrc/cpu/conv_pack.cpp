// Weights into the layout that conv reads from end to end (conv_layout.h): transformed in float64, grouped by
// kGemmWidth output channels, zero where channels run out.
#include "common/ops.h"
#include "cpu/conv_layout.h"
#include "cpu/conv_transform.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

// u[point] of the 3x3 filter of output channel k and input channel c.
template <class T>
void transform_filter(const float* filter, double* u) {
  constexpr int kPoints = T::kPoints;
  double columns[3][kPoints];
  for (int j = 0; j < 3; ++j) {
    const double g[3] = {filter[j], filter[3 + j], filter[6 + j]};
    T::weight(g, columns[j]);
  }
  for (int p = 0; p < kPoints; ++p) {
    const double g[3] = {columns[0][p], columns[1][p], columns[2][p]};
    T::weight(g, u + p * kPoints);
  }
}

class Packer {
 public:
  Packer(const ConvPack& pack, const ConvLayout& layout) : pack_(pack), s_(pack.shape), l_(layout) {}

  // One group of output channels.
  void group(int64_t index) const {
    const KGroup channels(s_.k, index);
    float* to = static_cast<float*>(pack_.packed) + index * l_.group_rows() * kGemmWidth;
    std::fill(to, to + l_.group_rows() * channels.width, 0.f);
    const int64_t last = std::min<int64_t>(channels.width, s_.k - channels.first);
    for (int64_t k = 0; k < last; ++k) {
      channel(channels.first + k, to + k, channels.width);
      const int64_t extra_row = (l_.direct() ? l_.blocks : l_.tiling.points * l_.blocks) * kConvLanes;
      for (int64_t c = 0; c < s_.extra_c; ++c)
        to[(extra_row + c) * channels.width + k] = pack_.extra[(channels.first + k) * s_.extra_c + c];
    }
  }

 private:
  void channel(int64_t k, float* to, int width) const {
    switch (l_.tiling.algorithm) {
      case ConvAlgorithm::kF23:
        return winograd<F23>(k, to, width);
      case ConvAlgorithm::kF43:
        return winograd<F43>(k, to, width);
      case ConvAlgorithm::kF63:
        return winograd<F63>(k, to, width);
      case ConvAlgorithm::kS23:
        return winograd<S23>(k, to, width);
      case ConvAlgorithm::kS43:
        return winograd<S43>(k, to, width);
      default:
        return direct(k, to, width);
    }
  }

  template <class T>
  void winograd(int64_t k, float* to, int width) const {
    const int64_t point = l_.blocks * kConvLanes * width;
    for (int64_t c = 0; c < s_.c; ++c) {
      double u[T::kPoints * T::kPoints];
      transform_filter<T>(pack_.weight + (k * s_.c + c) * 9, u);
      for (int p = 0; p < T::kPoints * T::kPoints; ++p) to[p * point + c * width] = static_cast<float>(u[p]);
    }
  }

  // Rows in the order of an NHWC image's taps.
  void direct(int64_t k, float* to, int width) const {
    const int64_t taps = s_.kernel * s_.kernel;
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t c = 0; c < s_.c; ++c, to += width) *to = pack_.weight[(k * s_.c + c) * taps + tap];
  }

  const ConvPack& pack_;
  const ConvShape& s_;
  const ConvLayout& l_;
};

}  // namespace

void conv_pack(const ConvPack& pack, Exec exec) {
  HGFAST_CHECK(pack.shape.algorithm != 0, "conv_pack: the shape must name the algorithm (conv_query chooses it)");
  const ConvLayout layout = conv_layout(pack.shape, exec);
  const Packer packer(pack, layout);
  parallel_for(layout.k_groups, 1, exec, [&](int64_t begin, int64_t end, int) {
    for (int64_t index = begin; index < end; ++index) packer.group(index);
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
