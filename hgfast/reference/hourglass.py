"""The two hourglasses, recursive as in the papers, over an exchangeable set of blocks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hgfast import _checks
from hgfast.reference.blocks import REFERENCE, BlockSet

__all__ = ["HourglassModule", "NewellHourglass", "residual_layer"]

MAX_DEPTH = 30  # a picture of 2^30 pixels a side is halved to one


def residual_layer(
    blocks: BlockSet, count: int, in_channels: int, out_channels: int, stride: int = 1, *, change_first: bool = True
) -> nn.Sequential:
    """Chain ``count`` BasicBlocks (at least one), one of which changes width and stride (MMPose's ``ResLayer``).

    Args:
        blocks: The block classes to build of.
        count: Number of blocks; 0 counts as 1, as in the peer.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the changing block.
        change_first: Whether the first block changes width and stride, or the last one.
    """
    count = max(count, 1)
    changing = 0 if change_first else count - 1
    widths = [in_channels if i <= changing else out_channels for i in range(count)] + [out_channels]
    return nn.Sequential(
        *(blocks.basic(widths[i], widths[i + 1], stride if i == changing else 1) for i in range(count))
    )


class HourglassModule(nn.Module):
    """Hourglass of MMPose: ``up1(x) + upsample(low3(low2(low1(x))))`` with BasicBlocks and strided convolutions.

    The first block of ``low1`` halves the size, the last block of ``low3`` restores the width, ``low2`` is the next
    hourglass or, at depth 1, ``stage_blocks[1]`` blocks. No ReLU follows the sum. Keys ``up1 low1 low2 low3``.

    Args:
        depth: Number of times the size is halved.
        stage_channels: Width of each level, outermost first; at least ``depth + 1`` numbers.
        stage_blocks: Blocks of each branch of each level; as many numbers.
        blocks: The block classes to build of.
    """

    def __init__(
        self, depth: int, stage_channels: Sequence[int], stage_blocks: Sequence[int], blocks: BlockSet = REFERENCE
    ) -> None:
        super().__init__()
        depth = _checks.integer("HourglassModule", "depth", depth, 1, MAX_DEPTH)
        stage_channels = _checks.integers("HourglassModule", "stage_channels", stage_channels, minimum=1)
        stage_blocks = _checks.integers("HourglassModule", "stage_blocks", stage_blocks, minimum=0)
        if min(len(stage_channels), len(stage_blocks)) <= depth:
            raise ValueError(
                "HourglassModule: there must be depth + 1 numbers in stage_channels and stage_blocks; "
                f"got depth {depth}, stage_channels {tuple(stage_channels)}, stage_blocks {tuple(stage_blocks)}"
            )
        width, inner = stage_channels[:2]
        count, inner_count = stage_blocks[:2]
        self.up1 = residual_layer(blocks, count, width, width)
        self.low1 = residual_layer(blocks, count, width, inner, stride=2)
        self.low2 = (
            type(self)(depth - 1, stage_channels[1:], stage_blocks[1:], blocks)
            if depth > 1
            else residual_layer(blocks, inner_count, inner, inner)
        )
        self.low3 = residual_layer(blocks, count, inner, width, change_first=False)
        self.merge = blocks.merge()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, stage_channels[0], H, W) to the same shape."""
        return self.merge(self.up1(x), self.low3(self.low2(self.low1(x))))


class NewellHourglass(nn.Module):
    """Hourglass of Newell et al. (2016) as princeton-vl has it: one bottleneck per branch, 2x2 max-pooling.

    Keys ``up1 low1 low2 low3``.

    Args:
        depth: Number of times the size is halved.
        channels: Width of the input and the output.
        increase: Channels added below the outermost level (the peer does not pass it on to the inner levels).
        blocks: The block classes to build of.
    """

    def __init__(self, depth: int, channels: int, increase: int = 0, blocks: BlockSet = REFERENCE) -> None:
        super().__init__()
        depth = _checks.integer("NewellHourglass", "depth", depth, 1, MAX_DEPTH)
        channels = _checks.integer("NewellHourglass", "channels", channels, 2)
        inner = channels + _checks.integer("NewellHourglass", "increase", increase, 2 - channels)
        self.up1 = blocks.bottleneck(channels, channels)
        self.low1 = blocks.bottleneck(channels, inner)
        self.low2 = type(self)(depth - 1, inner, blocks=blocks) if depth > 1 else blocks.bottleneck(inner, inner)
        self.low3 = blocks.bottleneck(inner, channels)
        self.merge = blocks.merge()
        self.pool = blocks.pool()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        x, low = self.pool.branch(x)
        return self.merge(self.up1(x), self.low3(self.low2(self.low1(low))))
