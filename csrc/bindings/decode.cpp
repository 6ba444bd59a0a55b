// Bindings of what follows the network: decoding, flip test, targets.
#include "bindings/bindings.h"
#include "common/blur_kernel.h"

namespace hgfast::HGFAST_BACKEND {
namespace {

FlippedMaps flipped_maps(Address maps, const py::tuple& flip_indices, int shift) {
  HGFAST_CHECK(flip_indices.size() <= kMaxFlipChannels, "at most ", kMaxFlipChannels, " flip_indices, got ",
               flip_indices.size());
  FlippedMaps flipped{as_pointer(maps), shift, {}};
  int channel = 0;
  for (const auto& index : flip_indices) flipped.partner[channel++] = index.cast<int16_t>();
  return flipped;
}

}  // namespace

void bind_decode(py::module_& m) {
  m.def("decode_heatmaps",
        [](Address heatmaps, int dtype, int layout, int64_t n, int64_t k, int64_t h, int64_t w, Address flipped,
           const py::tuple& flip_indices, int shift, Address affine, int affine_dtype, int64_t affine_stride,
           Address keypoints, Address scores, int method, int blur_kernel_size, Exec exec) {
          decode_heatmaps({{DType(dtype), Layout(layout), n, k, h, w},
                           as_pointer(heatmaps),
                           flipped_maps(flipped, flip_indices, shift),
                           as_pointer(affine),
                           DType(affine_dtype),
                           affine_stride,
                           as_pointer(keypoints),
                           as_pointer(scores),
                           DecodeMethod(method),
                           opencv_gaussian_kernel(blur_kernel_size)},
                          exec);
        });
  m.def("flip_merge", [](Address heatmaps, int dtype, int layout, int64_t n, int64_t k, int64_t h, int64_t w,
                         Address flipped, const py::tuple& flip_indices, int shift, Address out, Exec exec) {
    flip_merge({{DType(dtype), Layout(layout), n, k, h, w},
                as_pointer(heatmaps),
                flipped_maps(flipped, flip_indices, shift),
                as_pointer(out)},
               exec);
  });
  m.def("soft_argmax",
        [](Address heatmaps, int dtype, int layout, int64_t n, int64_t k, int64_t h, int64_t w, Address keypoints,
           Address scores, Address totals, double temperature, int64_t window, Exec exec) {
          soft_argmax({{DType(dtype), Layout(layout), n, k, h, w},
                       as_pointer(heatmaps),
                       as_pointer(keypoints),
                       as_pointer(scores),
                       as_pointer(totals),
                       temperature,
                       window},
                      exec);
        });
  m.def("soft_argmax_backward", [](Address heatmaps, int dtype, int64_t n, int64_t k, int64_t h, int64_t w,
                                   Address keypoints, Address scores, Address totals, Address grad_keypoints,
                                   Address grad_scores, Address grad, double temperature, int64_t window, Exec exec) {
    soft_argmax_backward({{DType(dtype), Layout::kNCHW, n, k, h, w},
                          as_pointer(heatmaps),
                          as_pointer(keypoints),
                          as_pointer(scores),
                          as_pointer(totals),
                          as_pointer(grad_keypoints),
                          as_pointer(grad_scores),
                          as_pointer(grad),
                          temperature,
                          window},
                         exec);
  });
  m.def("heatmap_peaks", [](Address heatmaps, int dtype, int layout, int64_t n, int64_t k, int64_t h, int64_t w,
                            Address keypoints, Address scores, int64_t count, double threshold, int method, Exec exec) {
    heatmap_peaks({{DType(dtype), Layout(layout), n, k, h, w},
                   as_pointer(heatmaps),
                   as_pointer(keypoints),
                   as_pointer(scores),
                   count,
                   threshold,
                   DecodeMethod(method)},
                  exec);
  });
}

}  // namespace hgfast::HGFAST_BACKEND
