// The table of all operations. One line here is one op in every room: problem struct, CPU kernel, CUDA kernel, binding.
// Each backend defines `void <op>(const <Problem>&, Exec)`; csrc/cpu/runtime/dispatch.cpp expands the table once more
// to choose the instruction set.
#pragma once

#include <cstdint>

#include "common/batch_norm_act.h"
#include "common/bottleneck.h"
#include "common/conv.h"
#include "common/conv_train.h"
#include "common/decode_heatmaps.h"
#include "common/flip_merge.h"
#include "common/gaussian_heatmaps.h"
#include "common/heatmap_peaks.h"
#include "common/keypoint_mse.h"
#include "common/max_pool.h"
#include "common/pointwise.h"
#include "common/soft_argmax.h"
#include "common/upsample_add.h"

namespace hgfast {

// Where a call runs: the CUDA stream handle, or on the CPU the number of threads.
using Exec = std::intptr_t;

}  // namespace hgfast

// The convolution alone gains from AVX512_BF16 on the CPU, and has one more variant there.
#define HGFAST_FOR_EACH_CONV_OP(X) \
  X(conv, Conv)                    \
  X(conv_pack, ConvPack)           \
  X(conv_query, ConvQuery)
#define HGFAST_FOR_EACH_OTHER_OP(X)                      \
  X(upsample_add, UpsampleAdd)                           \
  X(upsample_add_backward, UpsampleAddBackward)          \
  X(batch_norm_stats, BatchNormStats)                    \
  X(batch_norm_apply, BatchNormApply)                    \
  X(batch_norm_backward_reduce, BatchNormBackwardReduce) \
  X(batch_norm_backward_apply, BatchNormBackwardApply)   \
  X(decode_heatmaps, DecodeHeatmaps)                     \
  X(flip_merge, FlipMerge)                               \
  X(soft_argmax, SoftArgmax)                             \
  X(soft_argmax_backward, SoftArgmaxBackward)            \
  X(heatmap_peaks, HeatmapPeaks)                         \
  X(gaussian_heatmaps, GaussianHeatmaps)                 \
  X(keypoint_mse, KeypointMse)                           \
  X(max_pool, MaxPool)                                   \
  X(max_pool_backward, MaxPoolBackward)
#define HGFAST_FOR_EACH_OP(X) HGFAST_FOR_EACH_CONV_OP(X) HGFAST_FOR_EACH_OTHER_OP(X)

// Ops that only one backend has.
#define HGFAST_FOR_EACH_CPU_ONLY_OP(X)  \
  X(conv_train, ConvTrain)              \
  X(conv_weight_grad, ConvWeightGrad)   \
  X(conv_strided_grad, ConvStridedGrad) \
  X(pointwise, Pointwise)               \
  X(channel_sum, ChannelSum)            \
  X(move_running, MoveRunning)
#define HGFAST_FOR_EACH_CUDA_ONLY_OP(X) \
  X(bottleneck, Bottleneck)             \
  X(bottleneck_query, BottleneckQuery)

#define HGFAST_DECLARE_OP(name, Problem) void name(const Problem&, Exec);

namespace hgfast::cpu {
HGFAST_FOR_EACH_OP(HGFAST_DECLARE_OP)
HGFAST_FOR_EACH_CPU_ONLY_OP(HGFAST_DECLARE_OP)
}  // namespace hgfast::cpu

namespace hgfast::cuda {
HGFAST_FOR_EACH_OP(HGFAST_DECLARE_OP)
HGFAST_FOR_EACH_CUDA_ONLY_OP(HGFAST_DECLARE_OP)
}  // namespace hgfast::cuda
