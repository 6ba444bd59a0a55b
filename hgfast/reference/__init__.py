"""Plain PyTorch twins of the ops, blocks, hourglasses and losses: the oracle, written to be read."""

from hgfast.reference.batch_norm_act import (
    batch_norm_act,
    batch_norm_act_apply,
    batch_norm_act_train,
    batch_norm_backward_apply,
    batch_norm_backward_reduce,
    batch_norm_stats,
)
from hgfast.reference.blocks import (
    REFERENCE,
    BasicBlock,
    BlockSet,
    Bottleneck,
    ConvModule,
    MaxPool,
    UpsampleAdd,
)
from hgfast.reference.bottleneck import bottleneck
from hgfast.reference.conv2d import conv2d, conv2d_gradients, conv2d_input_grad, conv2d_weight_grad
from hgfast.reference.conv_bias_act import conv_bias_act
from hgfast.reference.decode_heatmaps import decode_heatmaps
from hgfast.reference.flip_merge import decode_flip, flip_merge
from hgfast.reference.gaussian_heatmaps import gaussian_heatmaps
from hgfast.reference.heatmap_peaks import heatmap_peaks
from hgfast.reference.hourglass import HourglassModule, NewellHourglass
from hgfast.reference.losses import keypoint_mse, stack_mse
from hgfast.reference.max_pool import max_pool, max_pool_backward, max_pool_gather
from hgfast.reference.soft_argmax import soft_argmax, soft_argmax_backward
from hgfast.reference.upsample_add import upsample_add, upsample_add_backward

__all__ = [
    "REFERENCE",
    "BasicBlock",
    "BlockSet",
    "Bottleneck",
    "ConvModule",
    "HourglassModule",
    "MaxPool",
    "NewellHourglass",
    "UpsampleAdd",
    "batch_norm_act",
    "batch_norm_act_apply",
    "batch_norm_act_train",
    "batch_norm_backward_apply",
    "batch_norm_backward_reduce",
    "batch_norm_stats",
    "bottleneck",
    "conv2d",
    "conv2d_gradients",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv_bias_act",
    "gaussian_heatmaps",
    "heatmap_peaks",
    "keypoint_mse",
    "max_pool",
    "max_pool_backward",
    "max_pool_gather",
    "stack_mse",
    "decode_flip",
    "decode_heatmaps",
    "flip_merge",
    "soft_argmax",
    "soft_argmax_backward",
    "upsample_add",
    "upsample_add_backward",
]
