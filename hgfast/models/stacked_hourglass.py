"""Stacked hourglass of Newell et al. (2016) in the form of princeton-vl/pytorch_stacked_hourglass."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hgfast import _checks as checks
from hgfast.models.common import (
    LARGEST,
    MOST,
    PoseNetwork,
    block_set,
    check_images,
    images_to_layout,
)
from hgfast.reference.blocks import BlockSet
from hgfast.reference.hourglass import NewellHourglass

__all__ = ["StackedHourglass"]


class Merge(nn.Module):
    """1x1 convolution with bias that brings a prediction or a feature back to the width of the trunk."""

    def __init__(self, in_channels: int, out_channels: int, blocks: BlockSet) -> None:
        super().__init__()
        self.conv = blocks.conv(in_channels, out_channels, 1, bias=True, bn=False, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, out_channels, h, w)."""
        return self.conv(x)


class StackedHourglass(PoseNetwork):
    """Stacked hourglass with pre-activation bottlenecks and intermediate predictions fed back (princeton-vl PoseNet).

    State-dict keys are the peer's: ``pre.* hgs.* features.* outs.* merge_features.* merge_preds.*``, including the
    ``skip_layer`` weights that never run where a bottleneck keeps its width (not trained here). Initialisation is
    PyTorch's own, as in the peer.

    Args:
        num_stacks: Hourglasses in a row, S.
        channels: Width of the trunk.
        num_keypoints: Heatmaps per stack, K.
        increase: Channels added below the outermost level of each hourglass.
        stem_channels: Width after the stem's first convolution and after its first bottleneck.
        implementation: "fused" works in channels_last on hgfast's kernels; "reference" is plain PyTorch and leaves
            the layout of images as it comes. Weights are contiguous in both.

    Raises:
        TypeError: If a number, a pair of numbers or a name is expected, and something else comes.
        ValueError: If a number is out of range.
    """

    stride = 4
    head_layers = ("outs.", "merge_preds.")
    depth = 4

    def __init__(
        self,
        num_stacks: int = 2,
        channels: int = 256,
        num_keypoints: int = 16,
        increase: int = 0,
        stem_channels: Sequence[int] = (64, 128),
        implementation: str = "fused",
    ) -> None:
        super().__init__()
        num_stacks = checks.integer("", "num_stacks", num_stacks, 1, MOST)
        channels = checks.integer("", "channels", channels, 2, LARGEST)
        num_keypoints = checks.integer("", "num_keypoints", num_keypoints, 1, LARGEST)
        increase = checks.integer("", "increase", increase, 2 - channels, LARGEST)
        stem_channels = checks.integers("", "stem_channels", stem_channels, minimum=1, maximum=LARGEST)
        if len(stem_channels) != 2:
            raise ValueError(f"stem_channels must be two numbers, got {tuple(stem_channels)}")
        blocks = block_set(implementation)
        first, second = stem_channels
        stacks, merges = range(num_stacks), range(num_stacks - 1)
        self.implementation = implementation
        self.pre = nn.Sequential(
            blocks.conv(3, first, 7, 2, bias=True),
            blocks.bottleneck(first, second),
            blocks.pool(),
            blocks.bottleneck(second, second),
            blocks.bottleneck(second, channels),
        )
        self.hgs = nn.ModuleList(nn.Sequential(NewellHourglass(self.depth, channels, increase, blocks)) for _ in stacks)
        self.features = nn.ModuleList(
            nn.Sequential(blocks.bottleneck(channels, channels), blocks.conv(channels, channels, 1, bias=True))
            for _ in stacks
        )
        self.outs = nn.ModuleList(
            blocks.conv(channels, num_keypoints, 1, bias=True, bn=False, relu=False) for _ in stacks
        )
        self.merge_features = nn.ModuleList(Merge(channels, channels, blocks) for _ in merges)
        self.merge_preds = nn.ModuleList(Merge(num_keypoints, channels, blocks) for _ in merges)

    @property
    def size_rule(self) -> tuple[int, int]:
        """4 * 2**4, and no less."""
        return self.stride << self.depth, 0

    def forward(self, images: Tensor) -> list[Tensor]:
        """Predict heatmaps.

        Args:
            images: (N, 3, H, W), floating point, RGB in [0, 1] (the peer takes (N, H, W, 3)); height and width
                multiples of 64. Any layout.

        Returns:
            One tensor (N, K, H/4, W/4) per stack; ``torch.stack(result, 1)`` gives the peer's (N, S, K, h, w).

        Raises:
            TypeError: If images is not a floating point tensor of the weights' dtype (any dtype with autocast).
            ValueError: If its shape or device is not accepted.
        """
        unit, slack = self.size_rule
        check_images(images, unit, slack, weight=next(self.parameters(), None))
        x = self.pre(images_to_layout(images, self.memory_format))
        heatmaps: list[Tensor] = []
        for i, (hourglass, head, out) in enumerate(zip(self.hgs, self.features, self.outs, strict=True)):
            feature = head(hourglass(x))
            heatmaps.append(out(feature))
            if i < len(self.merge_preds):
                # into the convolution's own result: a fresh tensor costs more than the sum
                x = self.merge_preds[i](heatmaps[i]).add_(x).add_(self.merge_features[i](feature))
        return heatmaps
