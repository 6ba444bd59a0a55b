// Weighted mean squared error of heatmaps and its gradient in one pass; the target given or made from keypoints.
//
// Tiling: one block an item, that is a map (NCHW) or an image row of all joints (NHWC); an item is contiguous in pred,
// target and grad, so threads walk it in packs of kWidth elements. A made target needs the joints' patches: the block
// holds them in shared memory (NHWC: k of them, NCHW: one). A block's sum is one partial; a second kernel of one block
// adds the partials in order, so the loss is the same in every run.
// Bytes: pred once, target once if given, grad once if wanted. FLOPs: 5 an element, plus an expf inside the patches.
// Limits: no float64; NHWC with a made target up to kMaxJoints joints.
#pragma once

#include "cuda/gaussian_heatmaps.cuh"
#include "cuda/reduce.cuh"

namespace hgfast::cuda {

constexpr int kMaxJoints = 512;

// Joint, and column and row, of element i of item `item`.
struct MsePlace {
  int joint, x, y;

  HG_DEV MsePlace(const KeypointMse& p, int64_t item, int i) {
    const int w = static_cast<int>(p.w), k = static_cast<int>(p.k);
    if (p.layout == Layout::kNCHW) {
      joint = static_cast<int>(item % k), x = i % w, y = i / w;
    } else {
      joint = i % k, x = i / k, y = static_cast<int>(item % p.h);
    }
  }
};

// The patches of an item's joints: first_joint of NCHW's one, or all k. Ends with a barrier.
HG_DEV void load_patches(const KeypointMse& p, int64_t item, GaussianPatch* patches) {
  const bool one = p.layout == Layout::kNCHW;
  const int64_t first = one ? item : item / p.h * p.k;
  for (int j = threadIdx.x; j < (one ? 1 : static_cast<int>(p.k)); j += kThreads) {
    const int64_t map = first + j;
    patches[j] = gaussian_patch(p.kind, p.keypoints[2 * map], p.keypoints[2 * map + 1], p.visible[map], p.sigma,
                                static_cast<int>(p.w), static_cast<int>(p.h));
  }
  __syncthreads();
}

template <class T, int kWidth, bool kMade>
__global__ void __launch_bounds__(kThreads, 4) keypoint_mse_kernel(KeypointMse p) {
  HG_SHARED(GaussianPatch, patches, kMade ? kMaxJoints : 1);
  const int64_t item = blockIdx.x;
  const bool nchw = p.layout == Layout::kNCHW;
  const int count = static_cast<int>(nchw ? p.h * p.w : p.w * p.k);
  const float exponent = static_cast<float>(-1.0 / (2.0 * p.sigma * p.sigma)),
              scale2 = static_cast<float>(2.0 * p.scale());
  const T* pred = static_cast<const T*>(p.pred) + item * count;
  const float* target = kMade ? nullptr : static_cast<const float*>(p.target) + item * count;
  const float* weights = static_cast<const float*>(p.weight);
  T* grad = p.grad == nullptr ? nullptr : static_cast<T*>(p.grad) + item * count;
  if (kMade) load_patches(p, item, patches);
  float sum = 0;
  for (int i = threadIdx.x * kWidth; i < count; i += kThreads * kWidth) {
    Pack<T, kWidth> a = *reinterpret_cast<const Pack<T, kWidth>*>(pred + i);
    Pack<T, kWidth> g;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const MsePlace at(p, item, i + j);
      float wanted, weight = 1;
      if (kMade) {
        const GaussianPatch& patch = patches[nchw ? 0 : at.joint];
        wanted = gaussian_at(patch, at.x, at.y, exponent), weight = patch.weight;
      } else {
        wanted = target[i + j];
        if (weights != nullptr) weight = weights[(nchw ? item / p.k : item / p.h) * p.k + at.joint];
      }
      const float difference = to_float(a.v[j]) - wanted, weighted = difference * weight;
      sum += weighted * difference;
      g.v[j] = from_float<T>(weighted * scale2);
    }
    if (grad != nullptr) *reinterpret_cast<Pack<T, kWidth>*>(grad + i) = g;
  }
  const double total = block_sum<double, kThreads>(sum);
  if (threadIdx.x == 0) p.partial[item] = total;
}

template <int kBlock>
__global__ void __launch_bounds__(kBlock) keypoint_mse_sum_kernel(KeypointMse p) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < p.partial_count(); i += kBlock) sum += p.partial[i];
  sum = block_sum<double, kBlock>(sum);
  if (threadIdx.x == 0) *static_cast<float*>(p.loss) = static_cast<float>(sum * p.scale());
}

template <class T, int kWidth>
void launch_keypoint_mse_width(const KeypointMse& p, Exec stream) {
  const dim3 grid(static_cast<unsigned>(p.partial_count()));
  if (p.target == nullptr) {
    HGFAST_CHECK(p.layout == Layout::kNCHW || p.k <= kMaxJoints, "keypoint_mse: at most ", kMaxJoints, " joints, got ",
                 p.k);
    launch(keypoint_mse_kernel<T, kWidth, true>, grid, dim3(kThreads), 0, stream, p);
  } else {
    launch(keypoint_mse_kernel<T, kWidth, false>, grid, dim3(kThreads), 0, stream, p);
  }
  launch(keypoint_mse_sum_kernel<kThreads>, dim3(1), dim3(kThreads), 0, stream, p);
}

template <class T>
void launch_keypoint_mse(const KeypointMse& p, Exec stream) {
  const int64_t count = p.layout == Layout::kNCHW ? p.h * p.w : p.w * p.k;
  if (can_pack<T>(count, p.pred, p.grad))
    launch_keypoint_mse_width<T, kPackWidth<T>>(p, stream);
  else
    launch_keypoint_mse_width<T, 1>(p, stream);
}

}  // namespace hgfast::cuda
