"""The training loss: mean squared error of the heatmaps, added up over the stacks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hgfast import _checks, ops
from hgfast.constants import constant
from hgfast.ops._heatmaps import check_heatmaps
from hgfast.ops.gaussian_heatmaps import check_points
from hgfast.train.config import Config


def heatmap_loss(config: Config, stacks: Sequence[Tensor], keypoints: Tensor, visible: Tensor) -> Tensor:
    """Loss of the predictions of all stacks against Gaussians at the keypoints.

    MMPose's KeypointMSELoss: joints that are not labelled have weight 0. With princeton-vl's targets (``newell``) all
    maps count, and those of unlabelled joints are to be empty, as there.

    Args:
        config: ``codec``, ``sigma`` and ``input_size`` say how targets look.
        stacks: heatmaps (N, K, h, w), any floating dtype. They are taken to float32 first: the gradient of a mean
            over millions of values is below what float16 can hold.
        keypoints: (N, K, 2) in pixels of the network's input.
        visible: (N, K).

    Raises:
        TypeError, ValueError: an argument of another kind or shape.
    """
    _check(config, stacks, keypoints, visible)
    heatmaps = [stack.float() for stack in stacks]
    points = to_heatmap(config, keypoints, heatmaps[0])
    if config.codec != "newell":
        return ops.keypoint_mse_from_points(heatmaps, points, visible, config.sigma, config.codec)
    height, width = heatmaps[0].shape[2:]
    targets, _ = ops.gaussian_heatmaps(points, visible, (width, height), config.sigma, "newell")
    return ops.keypoint_mse(heatmaps, targets)


def _check(config: Config, stacks: Sequence[Tensor], keypoints: Tensor, visible: Tensor) -> None:
    where = "heatmap_loss"
    _checks.instance(where, "config", config, Config)
    if not isinstance(stacks, (list, tuple)) or not stacks:
        raise TypeError(f"{where}: stacks must be a list of heatmaps, not an empty one, got {_checks.describe(stacks)}")
    for number, stack in enumerate(stacks):
        check_heatmaps(where, f"stacks[{number}]", stack)
        _checks.shape(where, f"stacks[{number}]", stack, stacks[0].shape, "that of the first one")
    check_points(where, keypoints, visible)
    _checks.shape(where, "visible", visible, stacks[0].shape[:2], f"N, K of stacks, {tuple(stacks[0].shape)}")
    for name, value in (("keypoints", keypoints), *((f"stacks[{i}]", stack) for i, stack in enumerate(stacks))):
        if value.device != (device := stacks[0].device):
            raise ValueError(f"{where}: {name} must be on the device of stacks[0], {device}, got {value.device}")


def to_heatmap(config: Config, keypoints: Tensor, heatmaps: Tensor) -> Tensor:
    """Input pixels to heatmap pixels: by the ratio of the sizes, for UDP by the ratio of the sizes less one."""
    less = 1 if config.codec == "udp" else 0
    height, width = heatmaps.shape[2:]
    sizes = zip((width, height), config.input_size, strict=True)
    return keypoints * constant(tuple((out - less) / (given - less) for out, given in sizes), keypoints.device)
