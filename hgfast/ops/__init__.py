"""hgfast's operators: plain functions on tensors, each one kernel on CPU and CUDA."""

from hgfast import _switches
from hgfast.ops._conv_choice import set_winograd, winograd_enabled
from hgfast.ops._registry import OPS, explain
from hgfast.ops.batch_norm_act import batch_norm_act
from hgfast.ops.bottleneck import bottleneck
from hgfast.ops.conv2d import conv2d
from hgfast.ops.conv_bias_act import conv_bias_act
from hgfast.ops.decode_flip import decode_flip
from hgfast.ops.decode_heatmaps import decode_heatmaps
from hgfast.ops.flip_merge import flip_merge
from hgfast.ops.gaussian_heatmaps import gaussian_heatmaps
from hgfast.ops.heatmap_peaks import heatmap_peaks
from hgfast.ops.keypoint_mse import keypoint_mse, keypoint_mse_from_points
from hgfast.ops.max_pool import max_pool, max_pool_branch
from hgfast.ops.upsample_add import upsample_add

__all__ = [
    "batch_norm_act",
    "bottleneck",
    "conv2d",
    "conv_bias_act",
    "decode_flip",
    "decode_heatmaps",
    "explain",
    "flip_merge",
    "gaussian_heatmaps",
    "heatmap_peaks",
    "keypoint_mse",
    "keypoint_mse_from_points",
    "max_pool",
    "max_pool_branch",
    "set_winograd",
    "upsample_add",
    "winograd_enabled",
]

_switches.warn_of_unknown(OPS)
