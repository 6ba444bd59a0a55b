// The whole pre-activation bottleneck on CUDA: checks, choice of the kernel, dispatch by dtype.
#pragma once

#include "cuda/bottleneck_choice.cuh"

namespace hgfast::cuda {

// f(Tile()) for the kernel that the shape names; an error if it does not take the shape.
template <class F>
void with_checked_tile(const BottleneckShape& s, BottleneckKernel kernel, const F& f) {
  const bool known = with_bottleneck_tile(kernel, [&](auto tile) {
    HGFAST_CHECK(takes_bottleneck<decltype(tile)>(s, current_device()), "bottleneck: algorithm ",
                 static_cast<int>(kernel), " does not take this shape, dtype or device: n ", s.n, ", h ", s.h, ", w ",
                 s.w, ", c ", s.c, ", m ", s.m);
    f(tile);
  });
  HGFAST_CHECK(known, "bottleneck: there is no algorithm ", static_cast<int>(kernel));
}

inline void check_bottleneck(const Bottleneck& a) {
  const BottleneckShape& s = a.shape;
  const bool merge = a.upsample_to != nullptr;
  HGFAST_CHECK(merge ? (s.out_h + 1) / 2 == s.h && (s.out_w + 1) / 2 == s.w : s.out_h == s.h && s.out_w == s.w,
               "bottleneck: out_h, out_w do not fit h, w = ", s.h, ", ", s.w, ": got ", s.out_h, ", ", s.out_w);
  HGFAST_CHECK(are_aligned(a.x, a.upsample_to, a.y, a.y2, a.scale1, a.shift1, a.weight1, a.weight2, a.weight3, a.bias3,
                           a.scale2, a.shift2),
               "bottleneck: tensors must start at a multiple of 16 bytes");
  HGFAST_CHECK(a.x != a.y, "bottleneck: y must not be x, which neighbouring pixels read");
}

inline void launch_bottleneck(const Bottleneck& a, Exec stream) {
  with_checked_tile(a.shape, choose_bottleneck(a.shape, current_device()).kernel, [&](auto tile) {
    using Tile = decltype(tile);
    check_bottleneck(a);
    if (a.shape.dtype == DType::kFloat16)
      run_bottleneck<__half, Tile>(a, stream);
    else
      run_bottleneck<__nv_bfloat16, Tile>(a, stream);
  });
}

inline void answer_bottleneck_query(const BottleneckQuery& query) {
  const Device device = current_device();
  const BottleneckChoice choice = choose_bottleneck(query.shape, device);
  if (choice.kernel == BottleneckKernel::kNone) return;
  with_checked_tile(query.shape, choice.kernel, [&](auto) {});
  query.answer->algorithm = static_cast<int>(choice.kernel);
  query.answer->pays = choice.cycles < BottleneckCost(query.shape, device).three_convolutions();
  for (int64_t& conv : query.answer->conv_algorithms) conv = ConvChoice{ConvKernel::kMma128x64, 1}.algorithm();
  for (const BottleneckRate& rate : kBottleneckRates)
    if (rate.kernel == choice.kernel) query.answer->kernel = rate.name;
}

// As declared in cuda/candidates.h.
inline std::vector<Candidate> list_bottleneck_candidates(const BottleneckShape& s, const Device& device) {
  std::vector<Candidate> found;
  const BottleneckCost cost(s, device);
  for_each_bottleneck(s, device, [&](auto tile, const BottleneckRate& rate, double cycles) {
    using Tile = decltype(tile);
    found.push_back({static_cast<int>(rate.kernel), rate.name, 1, cycles, 0, Tile::kSmemBytes, rate.registers,
                     Tile::kThreads, cost.template resident_blocks<Tile>(rate)});
  });
  std::stable_sort(found.begin(), found.end(),
                   [](const Candidate& a, const Candidate& b) { return a.cycles < b.cycles; });
  return found;
}

}  // namespace hgfast::cuda
