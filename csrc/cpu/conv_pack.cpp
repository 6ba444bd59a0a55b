// Weights into the layout that conv reads from end to end (conv_layout.h): grouped by kGemmWidth output channels, zero
// where channels run out. Training packs at every call, so it has to be quick: a block of kConvLanes input channels is
// turned into vectors of output channels in registers, which are then transformed and stored. What takes the time is
// writing up to points / 9 times what is read, as `points` streams far apart.
#include "cpu/conv_pack.h"

#include "common/ops.h"
#include "cpu/buffer.h"
#include "cpu/conv_transform.h"
#include "cpu/parallel.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

class Packer {
 public:
  Packer(const WeightView& weight, const float* extra, const ConvShape& shape, const ConvLayout& layout, float* packed)
      : weight_(weight), extra_(extra), s_(shape), l_(layout), packed_(packed) {}

  void run() const {
    const int64_t blocks = (s_.c + kConvLanes - 1) / kConvLanes;
    parallel_for(l_.k_groups * blocks, 8, l_.threads, [&](int64_t begin, int64_t end, int) {
      Buffer<VecF> filters;
      filters.reserve(kConvLanes * s_.kernel * s_.kernel);
      for (int64_t item = begin; item < end; ++item) {
        if (item + 1 < end) fetch(place_of(item + 1));
        block(place_of(item), filters.data());
      }
    });
  }

 private:
  struct Place {
    int64_t group, c;
  };

  // Items follow the runs of the weights in memory.
  Place place_of(int64_t item) const {
    const int64_t blocks = (s_.c + kConvLanes - 1) / kConvLanes;
    if (weight_.c_step < weight_.k_step) return {item / blocks, item % blocks * kConvLanes};
    return {item % l_.k_groups, item / l_.k_groups * kConvLanes};
  }

  void fetch(const Place& at) const {
    const KGroup channels(s_.k, at.group);
    prefetch_weights(weight_, channels.first, std::min<int64_t>(channels.width, s_.k - channels.first), at.c,
                     std::min<int64_t>(kConvLanes, s_.c - at.c), s_.kernel * s_.kernel);
  }

  // Input channels c .. of one group of output channels; the last ones also fill up what follows them.
  void block(const Place& at, VecF* filters) const {
    const KGroup channels(s_.k, at.group);
    const int64_t c = at.c;
    const int64_t count = std::min<int64_t>(kConvLanes, s_.c - c), taps = s_.kernel * s_.kernel;
    float* to = packed_ + at.group * l_.group_rows() * kGemmWidth;
    for (int64_t k = 0; k < channels.width; k += kConvLanes) {
      const int64_t lanes = std::min<int64_t>(kConvLanes, s_.k - channels.first - k);
      load_weights(weight_, channels.first + k, lanes, c, count, taps, filters);
      place(filters, to + k, c, count, channels.width);
      if (c + count == s_.c) finish(to + k, channels.first + k, lanes, channels.width);
    }
  }

  void place(const VecF* filters, float* to, int64_t c, int64_t count, int width) const {
    switch (l_.tiling.algorithm) {
      case ConvAlgorithm::kF23:
        return winograd<F23>(filters, to, c, count, width);
      case ConvAlgorithm::kF43:
        return winograd<F43>(filters, to, c, count, width);
      case ConvAlgorithm::kF63:
        return winograd<F63>(filters, to, c, count, width);
      case ConvAlgorithm::kS23:
        return winograd<S23>(filters, to, c, count, width);
      case ConvAlgorithm::kS43:
        return winograd<S43>(filters, to, c, count, width);
      default:
        return direct(filters, to, c, count, width);
    }
  }

  template <class T>
  void winograd(const VecF* filters, float* to, int64_t first, int64_t count, int width) const {
    constexpr int kAll = T::kPoints * T::kPoints;
    const int64_t point = l_.point_rows() * width;
    to += first * width;
    for (int64_t c = 0; c < count; ++c, to += width) {
      VecF u[kAll];
      transform_filter<T>(filters + c * 9, u);
      for (int p = 0; p < kAll; ++p) store(to + p * point, u[p]);
    }
  }

  // Rows in the order of an NHWC image's taps.
  void direct(const VecF* filters, float* to, int64_t first, int64_t count, int width) const {
    const int64_t taps = s_.kernel * s_.kernel;
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t c = 0; c < count; ++c) store(to + (tap * s_.c + first + c) * width, filters[c * taps + tap]);
  }

  // Zeros below the rows of each point; the extra weights, and zeros below them.
  void finish(float* to, int64_t k, int64_t lanes, int width) const {
    const int64_t rows = l_.blocks * kConvLanes, points = l_.tiling.points;
    for (int64_t p = 0; p < points; ++p)
      for (int64_t row = l_.rows; row < rows; ++row) store(to + (p * l_.point_rows() + row) * width, VecF{});
    to += (l_.direct() ? rows : points * l_.point_rows()) * width;
    for (int64_t c = 0; c < l_.extra_blocks * kConvLanes; ++c) {
      VecF v = {};
      for (int64_t i = 0; i < lanes && c < s_.extra_c; ++i) v[i] = extra_[(k + i) * s_.extra_c + c];
      store(to + c * width, v);
    }
  }

  const WeightView& weight_;
  const float* extra_;
  const ConvShape& s_;
  const ConvLayout& l_;
  float* packed_;
};

}  // namespace

void pack_weights(const WeightView& weight, const float* extra, const ConvShape& shape, const ConvLayout& layout,
                  float* packed) {
  if (layout.tiling.pairs) return pack_pairs(weight, extra, shape, layout, packed);
  if (!layout.direct() || weight.c_step != 1 || weight.turned)
    return Packer(weight, extra, shape, layout, packed).run();
  // OHWI weights lie as the packed rows do: a matrix to be transposed.
  ConvShape matrix = shape;
  matrix.c = shape.kernel * shape.kernel * shape.c, matrix.kernel = 1;
  Packer(weight, extra, matrix, layout, packed).run();
}

void conv_pack(const ConvPack& pack, Exec exec) {
  const ConvShape& s = pack.shape;
  HGFAST_CHECK(s.algorithm != 0, "conv_pack: the shape must name the algorithm (conv_query chooses it)");
  pack_weights(WeightView::dense(pack.weight, s.c, s.kernel * s.kernel, false), pack.extra, s, conv_layout(s, exec),
               static_cast<float*>(pack.packed));
}

}  // namespace hgfast::cpu::HGFAST_ISA
