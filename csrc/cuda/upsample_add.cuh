// out = skip + nearest2x(low), and its backward: grad_low = sum of grad over each 2x2 cell.
//
// Layout: NHWC with kWidth channels a pack (16 bytes), or single elements, of NCHW too. Tiling: a thread takes a cell
// (cuda/cells.cuh): a pack of low and the four of skip that it is added to are on their way together, 80 bytes a
// thread; of single elements two rows of one column, so that neighbouring threads read neighbouring columns.
// Grid-stride loops, no shared memory. Bytes: forward 2.25 * size(out), backward 1.25 * size(grad). FLOPs: 1 addition
// per element. Bound by DRAM bandwidth. Limits: any size; the sum is taken in float32 and rounded once. Status:
// compiled and run under the host emulator; not yet run on a GPU.
#pragma once

#include "cuda/cells.cuh"

namespace hgfast::cuda {

template <class T, int kWidth, int kColumns, class Index>
__global__ void __launch_bounds__(kThreads)
    upsample_add_kernel(const T* skip, const T* __restrict__ low, T* out, Cells<Index> cells) {
  using P = Pack<T, kWidth>;
  for_each_item(cells.total, [&](Index i) {
    const auto cell = cells.template at<kColumns>(i);
    const Index low_w = (cells.w + 1) / 2;
    const Index source = kColumns == 2 ? i : (cell.strip * low_w + cell.column / 2) * cells.packs + cell.pack;
    const P addend = reinterpret_cast<const P*>(low)[source];
    P packs[4];
#pragma unroll
    for (int place = 0; place < 4; ++place)
      if (cell.has(place)) packs[place] = reinterpret_cast<const P*>(skip)[cells.place(cell, place)];
    const Numbers<T, kWidth> b(addend);
#pragma unroll
    for (int place = 0; place < 4; ++place) {
      if (!cell.has(place)) continue;
      Numbers<T, kWidth> sum(packs[place]);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum.v[k] += b.v[k];
      reinterpret_cast<P*>(out)[cells.place(cell, place)] = sum.rounded();
    }
  });
}

template <class T, int kWidth, class Index>
__global__ void __launch_bounds__(kThreads)
    upsample_add_backward_kernel(const T* __restrict__ grad, T* __restrict__ grad_low, Cells<Index> cells) {
  using P = Pack<T, kWidth>;
  for_each_item(cells.total, [&](Index i) {
    const auto cell = cells.template at<2>(i);
    P packs[4] = {};
#pragma unroll
    for (int place = 0; place < 4; ++place)
      if (cell.has(place)) packs[place] = reinterpret_cast<const P*>(grad)[cells.place(cell, place)];
    Numbers<T, kWidth> sum(packs[0]);
#pragma unroll
    for (int place = 1; place < 4; ++place) {
      const Numbers<T, kWidth> other(packs[place]);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum.v[k] += other.v[k];
    }
    reinterpret_cast<P*>(grad_low)[i] = sum.rounded();
  });
}

// The cells of a merge's large map; columns: cells of a row.
template <class A, class Problem>
Cells<typename A::Index> merge_cells(const Problem& p, int64_t columns) {
  const bool nhwc = p.layout == Layout::kNHWC;
  return {nhwc ? p.n : p.n * p.c, p.h, p.w, nhwc ? p.c / A::kWidth : 1, p.low_h(), columns};
}

// Calls run(Access) for a merge whose tensors are at these addresses.
template <class T, class Problem, class F, class... Pointers>
void with_merge_access(const Problem& p, const F& run, Pointers... pointers) {
  with_access<T>(p.layout == Layout::kNHWC && can_pack<T>(p.c, pointers...), p.n * p.c * p.h * p.w, run);
}

template <class T>
void launch_upsample_add(const UpsampleAdd& p, Exec stream) {
  with_merge_access<T>(
      p,
      [&](auto access) {
        using A = decltype(access);
        constexpr int kColumns = A::kWidth > 1 ? 2 : 1;
        const auto cells = merge_cells<A>(p, kColumns == 2 ? p.low_w() : p.w);
        launch(upsample_add_kernel<T, A::kWidth, kColumns, typename A::Index>, grid_for(cells.total), dim3(kThreads), 0,
               stream, static_cast<const T*>(p.skip), static_cast<const T*>(p.low), static_cast<T*>(p.out), cells);
      },
      p.skip, p.low, p.out);
}

template <class T>
void launch_upsample_add_backward(const UpsampleAddBackward& p, Exec stream) {
  with_merge_access<T>(
      p,
      [&](auto access) {
        using A = decltype(access);
        const auto cells = merge_cells<A>(p, p.low_w());
        launch(upsample_add_backward_kernel<T, A::kWidth, typename A::Index>, grid_for(cells.total), dim3(kThreads), 0,
               stream, static_cast<const T*>(p.grad), static_cast<T*>(p.grad_low), cells);
      },
      p.grad, p.grad_low);
}

}  // namespace hgfast::cuda
