// The largest local maxima of each map on the CPU.
//
// One pass over a map with a short sorted list: a vector whose values are all below the list's last is passed over, so
// that the eight neighbours are looked at for few values. Bytes: one read of the maps.
#include "common/decode_refine.h"
#include "common/ops.h"
#include "cpu/heatmap_maps.h"
#include "cpu/types.h"

namespace hgfast::cpu::HGFAST_ISA {
namespace {

// The `count` largest peaks so far, largest first; an equal one that comes later stands behind.
template <class R>
class PeakList {
 public:
  PeakList(int64_t count, R threshold) : count_(count), threshold_(threshold), peaks_(buffer_.reserve(count)) {}

  void clear() { found_ = 0; }
  int64_t found() const { return found_; }
  const Peak<R>& operator[](int64_t i) const { return peaks_[i]; }
  // What a further peak has to exceed.
  R bar() const { return found_ < count_ ? threshold_ : peaks_[count_ - 1].value; }

  void insert(Peak<R> peak) {
    int64_t place = found_ < count_ ? found_++ : count_ - 1;
    for (; place > 0 && peaks_[place - 1].value < peak.value; --place) peaks_[place] = peaks_[place - 1];
    peaks_[place] = peak;
  }

 private:
  const int64_t count_;
  const R threshold_;
  Buffer<Peak<R>> buffer_;
  Peak<R>* peaks_;
  int64_t found_ = 0;
};

template <class R>
void find_peaks(const Plane<R>& plane, PeakList<R>& peaks) {
  constexpr int kStep = kLanes<R>;
  peaks.clear();
  for (int y = 0; y < plane.h; ++y)
    for (int x = 0; x < plane.w; x += kStep) {
      const R* values = plane.values + int64_t{y} * plane.w + x;
      const int count = std::min(kStep, plane.w - x);
      if (count == kStep && !lanes_at_least(load(values), broadcast<Vec<R>>(peaks.bar()))) continue;
      for (int i = 0; i < count; ++i)
        if (values[i] > peaks.bar() && is_local_maximum(plane, x + i, y, plane.w, plane.h))
          peaks.insert({values[i], int64_t{y} * plane.w + x + i});
    }
}

template <class R>
void write_peaks(const HeatmapPeaks& p, const Plane<R>& plane, const PeakList<R>& peaks, int64_t index) {
  R* keypoints = static_cast<R*>(p.keypoints) + 2 * index * p.count;
  R* scores = static_cast<R*>(p.scores) + index * p.count;
  for (int64_t i = 0; i < p.count; ++i) {
    double x = -1, y = -1;
    if (i < peaks.found()) {
      const int px = static_cast<int>(peaks[i].index % plane.w), py = static_cast<int>(peaks[i].index / plane.w);
      const Offset step = plain_step(p.method, plane, px, py, plane.w, plane.h);
      x = px + step.x, y = py + step.y;
    }
    keypoints[2 * i] = R(x);
    keypoints[2 * i + 1] = R(y);
    scores[i] = i < peaks.found() ? peaks[i].value : R(0);
  }
}

}  // namespace

void heatmap_peaks(const HeatmapPeaks& p, Exec exec) {
  dispatch(p.shape.dtype, "heatmap_peaks", [&](auto tag) {
    using T = typename decltype(tag)::type;
    using R = typename Compute<T>::type;
    constexpr R kNoLimit = std::numeric_limits<R>::infinity();
    for_plane_ranges<T>(p.shape, p.heatmaps, kNoFlip, kNoLimit, exec, [&](auto& planes, int64_t begin, int64_t end) {
      PeakList<R> peaks(p.count, R(p.threshold));
      for (int64_t index = begin; index < end; ++index) {
        const Plane<R> plane{planes.plane(index).values, static_cast<int>(p.shape.w), static_cast<int>(p.shape.h)};
        find_peaks(plane, peaks);
        write_peaks(p, plane, peaks, index);
      }
    });
  });
}

}  // namespace hgfast::cpu::HGFAST_ISA
