"""The training losses of the two families, in plain PyTorch."""

from __future__ import annotations

from torch import Tensor

__all__ = ["keypoint_mse", "stack_mse"]


def keypoint_mse(pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over everything of ``weight * (pred - target)**2`` (MMPose's KeypointMSELoss).

    Joints of weight 0 stay in the denominator, and there is no factor 1/2. For several stacks, add up the losses.

    Args:
        pred: Predicted heatmaps (N, K, H, W).
        target: Target heatmaps of the same shape.
        weight: Weight of each joint (N, K); None weighs all by 1.

    Returns:
        The loss, a scalar.
    """
    squares = (pred - target).square()
    return (squares if weight is None else squares * weight[:, :, None, None]).mean()


def stack_mse(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample and stack, without weights (princeton-vl's HeatmapLoss).

    A joint that is not visible takes part with its all-zero target. The value that is trained is the mean over both
    axes of the result.

    Args:
        pred: Predicted heatmaps (N, S, K, H, W), for instance ``torch.stack(model(images), 1)``.
        target: Target heatmaps (N, K, H, W).

    Returns:
        The losses (N, S).
    """
    return (pred - target[:, None]).square().mean(dim=(2, 3, 4))
