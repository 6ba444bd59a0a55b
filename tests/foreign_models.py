"""Networks of tests/zoo as others write them, by the names of hgfast's families."""

from __future__ import annotations

from torch import Tensor, nn

from tests.zoo.openmmlab import TopdownPoseEstimator
from tests.zoo.princeton import PoseNet


def foreign_model(family: str, num_stacks: int = 2, shallow: bool = False) -> nn.Module:
    """The peers' form of tests.small_models.small_model, with the same keys."""
    if family == "mmpose":
        return TopdownPoseEstimator(num_stacks=num_stacks)
    return PoseNet(num_stacks, depth=2 if shallow else 4)


def heatmaps(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Heatmaps of each stack from images (N, 3, H, W), whichever network it is."""
    if hasattr(model, "nstack"):
        return list(model(images.permute(0, 2, 3, 1)).unbind(1))
    return list(model(images))
