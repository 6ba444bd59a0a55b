"""Drop-in hourglasses made of fused blocks."""

from __future__ import annotations

from collections.abc import Sequence

from hgfast import reference
from hgfast.nn.blocks import FUSED
from hgfast.reference.blocks import BlockSet

__all__ = ["HourglassModule", "NewellHourglass"]


class HourglassModule(reference.HourglassModule):
    """:class:`hgfast.reference.HourglassModule` of fused blocks: same arguments, keys and results."""

    def __init__(
        self, depth: int, stage_channels: Sequence[int], stage_blocks: Sequence[int], blocks: BlockSet = FUSED
    ) -> None:
        super().__init__(depth, stage_channels, stage_blocks, blocks)


class NewellHourglass(reference.NewellHourglass):
    """:class:`hgfast.reference.NewellHourglass` of fused blocks: same arguments, keys and results."""

    def __init__(self, depth: int, channels: int, increase: int = 0, blocks: BlockSet = FUSED) -> None:
        super().__init__(depth, channels, increase, blocks)
