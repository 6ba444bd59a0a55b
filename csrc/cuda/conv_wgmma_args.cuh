// What the wgmma convolution is told, and the TMA maps that it copies with.
#pragma once

#include "cuda/conv_args.cuh"
#include "cuda/tensor_map.cuh"

namespace hgfast::cuda {

template <class T>
struct WgmmaArgs {
  ptx::TensorMap x, extra, weight, residual;
  ConvEpilogue<T> epilogue;
  SplitK split;  // counts input copies, not steps
  ConvSteps steps;
  PixelBox box;
  int k, kernel, stride, extra_stride, tiles_k;
  int residual_copies;  // per item, of 64 channels each; 0: the epilogue reads the residual itself, if there is one
  WaitFault* fault;

  // Input copies that make up K: with reuse one for the three taps of a filter column.
  __host__ __device__ int taps_per_copy() const { return box.reuse ? 3 : 1; }
  __host__ __device__ int main_copies() const { return steps.main() / taps_per_copy(); }
  __host__ __device__ int copies() const { return main_copies() + steps.extra_blocks; }
  __host__ __device__ int items() const { return box.tiles() * tiles_k * split.splits; }
};

// A map over an activation (C, W, H, N) whose copies bring a box's pixels, `lines` lines of them, of 128 bytes each.
template <class T>
TiledMap activation_map(const void* x, DType dtype, const std::array<int64_t, 4>& nhwc, const PixelBox& box,
                        int lines) {
  auto size = [&](int i) { return static_cast<uint64_t>(nhwc[i]); };
  const uint64_t pixel = size(3) * sizeof(T);
  return {x,
          dtype,
          4,
          {size(3), size(2), size(1), size(0)},
          {pixel, pixel * size(2), pixel * size(2) * size(1)},
          {kBlockK<T>, static_cast<uint32_t>(box.columns()), static_cast<uint32_t>(lines),
           static_cast<uint32_t>(box.images())},
          ptx::Swizzle::k128};
}

// One whose copies bring a run of a box's pixels, 128 bytes each, for one tap of a filter with "same" padding that is
// laid over every stride-th pixel.
template <class T>
Im2colMap strided_map(const void* x, DType dtype, const std::array<int64_t, 4>& nhwc, const PixelBox& box, int kernel,
                      int stride) {
  auto size = [&](int i) { return static_cast<uint64_t>(nhwc[i]); };
  const uint64_t pixel = size(3) * sizeof(T);
  const int lower = -(kernel / 2), upper = kernel / 2 - (kernel - 1);
  return {x,
          dtype,
          {size(3), size(2), size(1), size(0)},
          {pixel, pixel * size(2), pixel * size(2) * size(1)},
          {lower, lower},
          {upper, upper},
          kBlockK<T>,
          static_cast<uint32_t>(box.run()),
          static_cast<uint32_t>(stride),
          ptx::Swizzle::k128};
}

template <class T>
ptx::TensorMap input_map(const void* x, DType dtype, const std::array<int64_t, 4>& nhwc, const PixelBox& box, int lines,
                         int kernel, int stride) {
  return stride == 1 ? make_tensor_map(activation_map<T>(x, dtype, nhwc, box, lines))
                     : make_tensor_map(strided_map<T>(x, dtype, nhwc, box, kernel, stride));
}

template <class T>
WgmmaArgs<T> make_wgmma_args(const Conv& a, const ConvChoice& choice, int tile_n) {
  const ConvShape& s = a.shape;
  const PixelBox box = choose_box(s);
  const bool flat = box.n == 1 && box.p == 1 && s.n * s.p != 1;
  auto nhwc = [&](int64_t h, int64_t w, int64_t c) {
    return flat ? std::array<int64_t, 4>{1, 1, s.n * h * w, c} : std::array<int64_t, 4>{s.n, h, w, c};
  };
  const ConvSteps steps(s, kBlockK<T>);
  const int stride = static_cast<int>(s.stride), extra_stride = static_cast<int>(s.extra_stride);
  const uint64_t row = static_cast<uint64_t>(steps.total()) * kBlockK<T>;
  WgmmaArgs<T> args{
      input_map<T>(a.x, s.dtype, nhwc(s.h, s.w, s.c), box, box.copied_lines(), static_cast<int>(s.kernel), stride),
      {},
      make_tensor_map(TiledMap{a.weight,
                               s.dtype,
                               2,
                               {row, static_cast<uint64_t>(s.k)},
                               {row * sizeof(T)},
                               {kBlockK<T>, static_cast<uint32_t>(tile_n)},
                               ptx::Swizzle::k128}),
      {},
      make_epilogue<T>(a),
      {},
      steps,
      box,
      static_cast<int>(s.k),
      static_cast<int>(s.kernel),
      stride,
      extra_stride,
      static_cast<int>(ceil_div(s.k, tile_n)),
      0,
      wait_fault()};
  if (s.extra_c > 0)
    args.extra =
        input_map<T>(a.extra_x, s.dtype, nhwc(s.extra_h, s.extra_w, s.extra_c), box, box.lines(), 1, extra_stride);
  args.split = make_split(a, choice, args.copies());
  if (a.residual != nullptr && args.epilogue.access.packed && choice.splits == 1) {
    args.residual = make_tensor_map(activation_map<T>(a.residual, s.dtype, nhwc(s.p, s.q, s.k), box, box.lines()));
    args.residual_copies = static_cast<int>(ceil_div(tile_n, kBlockK<T>));
    args.epilogue.chain.rest.first.residual = nullptr;
  }
  return args;
}

}  // namespace hgfast::cuda
