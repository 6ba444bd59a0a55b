// The fused convolution on CUDA: checks, choice of the kernel (cuda/conv_choice.cuh), dispatch by dtype.
//
// Takes float16, bfloat16 and float32 (computed in tf32, or exactly: ConvShape::exact), any C, extra C and K (multiples
// of 8 are fast), kernel 1, 3 or 5 (7 with few channels: conv_small), padding (kernel - 1) / 2, any stride, any batch
// (cuda/conv_slices.cuh); an image's tensors below 2^31 elements and its result below 2^22 pixels.
#pragma once

#include <algorithm>

#include "cuda/conv_choice.cuh"
#include "cuda/conv_pack.cuh"
#include "cuda/conv_slices.cuh"

namespace hgfast::cuda {

inline void check_conv_shape(const ConvShape& s) {
  HGFAST_CHECK(s.n > 0 && s.h > 0 && s.w > 0 && s.c > 0 && s.k > 0, "conv: sizes must be positive, got n ", s.n, ", h ",
               s.h, ", w ", s.w, ", c ", s.c, ", k ", s.k);
  HGFAST_CHECK(runs_small(s) || s.kernel <= kMaxMmaKernel, "conv: CUDA kernels take a kernel up to ", kMaxMmaKernel,
               ", or kernel^2 c <= ", kSmallTerms, "; got kernel ", s.kernel, ", c ", s.c);
  HGFAST_CHECK(s.p == (s.h - 1) / s.stride + 1 && s.q == (s.w - 1) / s.stride + 1, "conv: p, q must be ",
               (s.h - 1) / s.stride + 1, ", ", (s.w - 1) / s.stride + 1, ", got ", s.p, ", ", s.q);
  HGFAST_CHECK(images_a_launch(s) > 0,
               "conv: CUDA kernels take images below 2^31 elements, and results below 2^22 "
               "pixels; got ",
               s.h, "x", s.w, "x", s.c, ", p, q ", s.p, ", ", s.q);
}

inline void check_conv(const Conv& a, const ConvChoice& choice) {
  const ConvShape s = first_slice(a.shape);
  const bool merge = a.upsample_to != nullptr;
  HGFAST_CHECK(merge ? (s.out_h + 1) / 2 == s.p && (s.out_w + 1) / 2 == s.q : s.out_h == s.p && s.out_w == s.q,
               "conv: out_h, out_w do not fit p, q = ", s.p, ", ", s.q, ": got ", s.out_h, ", ", s.out_w);
  HGFAST_CHECK((a.extra_x != nullptr) == (s.extra_c > 0), "conv: extra_x must be given exactly if extra_c > 0");
  HGFAST_CHECK(
      s.extra_c == 0 || ((s.extra_h - 1) / s.extra_stride + 1 == s.p && (s.extra_w - 1) / s.extra_stride + 1 == s.q),
      "conv: extra_h, extra_w, extra_stride do not give p, q = ", s.p, ", ", s.q);
  const bool small = choice.kernel == ConvKernel::kSmallInput;
  const ConvTile tile = conv_tile(choice.kernel);
  HGFAST_CHECK(small ? takes_small(s) && choice.splits == 1
                     : tile.kernel != ConvKernel::kNone && takes_tile(s, tile, current_device()) &&
                           ConvCost(s, {}).can_split(tile, choice.splits),
               "conv: algorithm ", s.algorithm, " does not take this shape, dtype or device");
  HGFAST_CHECK(conv_workspace_bytes(s, choice) <= a.workspace_bytes, "conv: workspace must have ",
               conv_workspace_bytes(s, choice), " bytes, got ", a.workspace_bytes);
}

template <class T>
void run_conv(const Conv& a, const ConvChoice& choice, Exec stream) {
  if (choice.kernel == ConvKernel::kSmallInput) return run_conv_small<T>(a, choice, stream);
  if constexpr (!std::is_same_v<T, float>) {
    if (is_wgmma(choice.kernel)) return run_conv_wgmma<T>(a, choice, stream);
  }
  run_conv_mma<T>(a, choice, stream);
}

// The choice knows only the largest slice's shape. TMA needs 16-byte addresses, and fewer images may not have as many
// parts; kernels with tiles read the same packed weights, and without a split no workspace.
inline ConvChoice choice_for(const Conv& slice, ConvChoice choice) {
  if (is_wgmma(choice.kernel) && !are_aligned(slice.x, slice.extra_x)) return {ConvKernel::kMma128x64, 1};
  if (!ConvCost(slice.shape, {}).can_split(conv_tile(choice.kernel), choice.splits)) choice.splits = 1;
  return choice;
}

inline void launch_conv(const Conv& a, Exec stream) {
  check_conv_shape(a.shape);
  const ConvChoice choice = choose_conv(first_slice(a.shape), current_device());
  check_conv(a, choice);
  dispatch(a.shape.dtype, "conv", [&](auto tag) {
    for_each_slice(a, [&](const Conv& slice) {
      run_conv<typename decltype(tag)::type>(slice, choice_for(slice, choice), stream);
    });
  });
}

inline const char* kernel_name(const ConvShape& s, const ConvChoice& choice) {
  if (choice.kernel == ConvKernel::kSmallInput) return is_exact(s) ? "mma few channels 3xtf32" : "mma few channels";
  const ConvTile tile = conv_tile(choice.kernel);
  return is_exact(s) && tile.exact_name != nullptr ? tile.exact_name : tile.name;
}

inline void answer_conv_query(const ConvQuery& query) {
  check_conv_shape(query.shape);
  const ConvShape s = first_slice(query.shape);
  const ConvChoice choice = choose_conv(s, current_device());
  dispatch(s.dtype, "conv_query", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t packed_bytes = s.k * packed_row<T>(s) * static_cast<int64_t>(sizeof(T));
    *query.answer = {choice.algorithm(), packed_bytes, conv_workspace_bytes(s, choice), runs_small(s),
                     kernel_name(s, choice)};
  });
}

// As declared in cuda/candidates.h. The small-input kernel, where it fits, comes first: what it saves is not modelled.
inline std::vector<Candidate> list_conv_candidates(const ConvShape& shape, const Device& device) {
  check_conv_shape(shape);
  const ConvShape s = first_slice(shape);
  std::vector<Candidate> found;
  auto add = [&](const ConvChoice& choice, double cycles, int smem_bytes, int registers, int threads, int resident) {
    found.push_back({choice.algorithm(), kernel_name(s, choice), choice.splits, cycles, conv_workspace_bytes(s, choice),
                     smem_bytes, registers, threads, resident});
  };
  if (takes_small(s)) {
    const int smem_bytes = s.dtype == DType::kFloat32 ? kSmallSmemBytes<float> : kSmallSmemBytes<__half>;
    add({ConvKernel::kSmallInput, 1}, 0, smem_bytes, kSmallRegisters, kSmallThreads,
        device.resident_blocks(kSmallThreads, kSmallRegisters, smem_bytes + kSwizzleAlignment));
  }
  for_each_conv(s, device, [&](const ConvTile& tile, int splits, double cycles) {
    add({tile.kernel, splits}, cycles, tile.smem_bytes, tile.registers, tile.threads,
        ConvCost(s, device).resident_blocks(tile));
  });
  std::stable_sort(found.begin(), found.end(),
                   [](const Candidate& a, const Candidate& b) { return a.cycles < b.cycles; });
  return found;
}

}  // namespace hgfast::cuda
