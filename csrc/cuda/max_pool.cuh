// 2x2 max-pooling of stride 2 over NHWC, with the optional second output ReLU(scale2 y + shift2), and its gradient.
//
// Tiling: a thread takes a pack of a cell (cuda/cells.cuh), 16 bytes of channels where C and the addresses allow, else
// single elements; its four pixels are on their way together, 64 bytes a thread. Backward: half cells at the edges of
// odd images included. Grid-stride loops. Bytes: x once, y and y2 once; backward x, grad and the addend once, x_grad
// once. FLOPs: 3 comparisons a result. Bound by DRAM bandwidth. Limits: none. Status: compiled and run under the host
// emulator; not yet run on a GPU.
#pragma once

#include "cuda/cells.cuh"

namespace hgfast::cuda {

// Does b win against a, which comes before it? As torch has it: the first maximum, or the last NaN.
template <class S>
HG_DEV bool beats(S b, S a) {
  return b > a || b != b;
}

// Of the kWidth channels from the address on: 16 bytes at a time.
template <int kWidth>
HG_DEV void load_floats(const float* source, float (&out)[kWidth]) {
  constexpr int kRun = kWidth < 4 ? kWidth : 4;
#pragma unroll
  for (int part = 0; part < kWidth / kRun; ++part) {
    const auto run = reinterpret_cast<const Pack<float, kRun>*>(source)[part];
#pragma unroll
    for (int k = 0; k < kRun; ++k) out[part * kRun + k] = run.v[k];
  }
}

// scale2 and shift2 of a second output, null without one.
struct SecondOutput {
  const float* scale;
  const float* shift;
};

template <class T, int kWidth, bool kSecond, class Index>
__global__ void __launch_bounds__(kThreads)
    max_pool_kernel(const T* __restrict__ x, T* __restrict__ y, T* __restrict__ y2, SecondOutput second,
                    Cells<Index> cells) {
  using P = Pack<T, kWidth>;
  for_each_item(cells.total, [&](Index i) {
    const auto cell = cells.template at<2>(i);
    P packs[4];
#pragma unroll
    for (int place = 0; place < 4; ++place) packs[place] = reinterpret_cast<const P*>(x)[cells.place(cell, place)];
    Numbers<T, kWidth> best(packs[0]);
#pragma unroll
    for (int place = 1; place < 4; ++place) {
      const Numbers<T, kWidth> other(packs[place]);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) best.v[k] = beats(other.v[k], best.v[k]) ? other.v[k] : best.v[k];
    }
    reinterpret_cast<P*>(y)[i] = best.rounded();
    if constexpr (kSecond) {
      float scale[kWidth], shift[kWidth];
      load_floats(second.scale + cell.pack * kWidth, scale);
      load_floats(second.shift + cell.pack * kWidth, shift);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        const Scalar<T> v = scale[k] * best.v[k] + shift[k];
        best.v[k] = v < 0 ? Scalar<T>(0) : v;
      }
      reinterpret_cast<P*>(y2)[i] = best.rounded();
    }
  });
}

// Which of a whole cell's places has the maximum, for each of kWidth channels.
template <class T, int kWidth>
HG_DEV void find_winners(const Pack<T, kWidth> (&packs)[4], int (&winner)[kWidth]) {
  Numbers<T, kWidth> best(packs[0]);
#pragma unroll
  for (int k = 0; k < kWidth; ++k) winner[k] = 0;
#pragma unroll
  for (int place = 1; place < 4; ++place) {
    const Numbers<T, kWidth> other(packs[place]);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      if (!beats(other.v[k], best.v[k])) continue;
      best.v[k] = other.v[k];
      winner[k] = place;
    }
  }
}

template <class T, int kWidth, class Index>
__global__ void __launch_bounds__(kThreads)
    max_pool_backward_kernel(const T* __restrict__ x, const T* __restrict__ grad, const T* __restrict__ addend,
                             T* __restrict__ x_grad, Cells<Index> cells) {
  using P = Pack<T, kWidth>;
  for_each_item(cells.total, [&](Index i) {
    const auto cell = cells.template at<2>(i);
    const bool whole = cell.has(3);
    P values[4] = {}, addends[4] = {}, mine{};
    if (whole) {
      const Index pooled = (cell.outer * (cells.h / 2) + cell.row) * (cells.w / 2) + cell.column;
      mine = reinterpret_cast<const P*>(grad)[pooled * cells.packs + cell.pack];
#pragma unroll
      for (int place = 0; place < 4; ++place) values[place] = reinterpret_cast<const P*>(x)[cells.place(cell, place)];
    }
    if (addend != nullptr) {
#pragma unroll
      for (int place = 0; place < 4; ++place)
        if (cell.has(place)) addends[place] = reinterpret_cast<const P*>(addend)[cells.place(cell, place)];
    }
    int winner[kWidth];
    find_winners(values, winner);
    const Numbers<T, kWidth> gain(mine);
#pragma unroll
    for (int place = 0; place < 4; ++place) {
      if (!cell.has(place)) continue;
      Numbers<T, kWidth> sum(addends[place]);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum.v[k] += winner[k] == place ? gain.v[k] : Scalar<T>(0);
      reinterpret_cast<P*>(x_grad)[cells.place(cell, place)] = sum.rounded();
    }
  });
}

template <class T>
void launch_max_pool(const MaxPool& p, Exec stream) {
  const bool packs = can_pack<T>(p.c, p.x, p.y, p.y2, p.scale2, p.shift2);
  with_access<T>(packs, p.n * p.h * p.w * p.c, [&](auto access) {
    using A = decltype(access);
    const Cells<typename A::Index> cells(p.n, p.h, p.w, p.c / A::kWidth, p.h / 2, p.w / 2);
    const auto run = [&](auto kernel) {
      launch(kernel, grid_for(cells.total), dim3(kThreads), 0, stream, static_cast<const T*>(p.x), static_cast<T*>(p.y),
             static_cast<T*>(p.y2), SecondOutput{p.scale2, p.shift2}, cells);
    };
    if (p.y2 == nullptr)
      run(max_pool_kernel<T, A::kWidth, false, typename A::Index>);
    else
      run(max_pool_kernel<T, A::kWidth, true, typename A::Index>);
  });
}

template <class T>
void launch_max_pool_backward(const MaxPoolBackward& p, Exec stream) {
  with_access<T>(can_pack<T>(p.c, p.x, p.grad, p.addend, p.x_grad), p.n * p.h * p.w * p.c, [&](auto access) {
    using A = decltype(access);
    const Cells<typename A::Index> cells(p.n, p.h, p.w, p.c / A::kWidth, (p.h + 1) / 2, (p.w + 1) / 2);
    launch(max_pool_backward_kernel<T, A::kWidth, typename A::Index>, grid_for(cells.total), dim3(kThreads), 0, stream,
           static_cast<const T*>(p.x), static_cast<const T*>(p.grad), static_cast<const T*>(p.addend),
           static_cast<T*>(p.x_grad), cells);
  });
}

}  // namespace hgfast::cuda
