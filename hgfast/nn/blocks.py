"""The blocks from which fused networks are built: the reference's modules, each run as one autograd operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hgfast import reference
from hgfast.nn._structure import parameters_of, refuse_plain
from hgfast.nn._tape import run
from hgfast.nn._written import Written, written
from hgfast.nn.merge import UpsampleAdd
from hgfast.nn.pool import MaxPool
from hgfast.reference.blocks import BlockSet

__all__ = ["FUSED", "BasicBlock", "Bottleneck", "ConvModule", "MaxPool", "UpsampleAdd"]


class _Block(nn.Module):
    """The forward pass of the reference as one operation; the reference's own where a part is not as it is there."""

    recompute = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._written()  # see the constructors

    def _written(self) -> Written | None:
        """Return the operation; None where the block is not as the reference makes it."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map as the reference does."""
        written = self._written()
        parts = None if written is None else written.parts_of(self)
        if written is None or parts is None:
            refuse_plain(self, x)
            return super().forward(x)  # type: ignore[misc,no-any-return]
        convs, norms = parts
        return run(written.program, [x], parameters_of(*convs), norms, self.recompute)


class ConvModule(_Block, reference.ConvModule):
    """:class:`hgfast.reference.ConvModule` as one operation: same arguments, keys and results.

    BatchNorm and ReLU keep nothing for the gradient: what they made is computed again.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        bias: bool = False,
        bn: bool = True,
        relu: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=bias, bn=bn, relu=relu)
        self._written()  # captured now, outside of whatever traces or transforms the forward pass

    def _written(self) -> Written | None:
        if type(self.conv) is not nn.Conv2d:
            return None
        flags = {"bn": self.bn is not None, "relu": bool(self.relu)}
        return written(reference.ConvModule, 1, 1, 1, self.conv.stride[0], **flags)


class BasicBlock(_Block, reference.BasicBlock):
    """:class:`hgfast.reference.BasicBlock` as one operation: same arguments, keys and results.

    The residual sum and its gradient are part of BatchNorm's kernels. For the gradient it keeps the block's input and
    the outputs of the convolutions, not what BatchNorm and ReLU made of them.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__(in_channels, out_channels, stride, downsample)
        self._written()

    def _written(self) -> Written | None:
        stride = self.conv1.stride[0] if type(self.conv1) is nn.Conv2d else None
        if stride is None or (stride != 1 and self.downsample is None):
            return None
        return written(reference.BasicBlock, 1, 1 if self.downsample is None else 2, stride)


class Bottleneck(_Block, reference.Bottleneck):
    """:class:`hgfast.reference.Bottleneck` as one operation: same arguments, keys and results.

    The sum with the skip is part of the last convolution, its gradient part of the first BatchNorm's kernel. For the
    gradient it keeps the block's input and the outputs of the first two convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self._written()

    def _written(self) -> Written | None:
        return written(reference.Bottleneck, 2, 4 if self.need_skip else 2)


FUSED = BlockSet(
    ConvModule,
    BasicBlock,
    Bottleneck,
    UpsampleAdd,
    MaxPool,
    memory_format=torch.channels_last,
)
