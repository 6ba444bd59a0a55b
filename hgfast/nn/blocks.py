"""The blocks from which fused networks are built: the reference's modules, each run as one autograd operation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hgfast import reference
from hgfast.nn._program import basic_program, bottleneck_program, conv_program
from hgfast.nn._structure import are_plain, conv_and_norm, has_hooks, parameters_of, refuse_plain
from hgfast.nn._tape import run
from hgfast.nn.merge import UpsampleAdd
from hgfast.nn.pool import MaxPool
from hgfast.reference.blocks import BlockSet

__all__ = ["FUSED", "BasicBlock", "Bottleneck", "ConvModule", "MaxPool", "UpsampleAdd"]


class ConvModule(reference.ConvModule):
    """:class:`hgfast.reference.ConvModule` as one operation: same arguments, keys and results.

    BatchNorm and ReLU keep nothing for the gradient: what they made is computed again.
    """

    recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        norms = [] if self.bn is None else [self.bn]
        if not are_plain([self.conv], norms):
            refuse_plain(self, x)
            return super().forward(x)
        program = conv_program(self.conv.stride[0], bool(norms), self.relu and bool(norms))
        y = run(program, [x], parameters_of(self.conv), norms, self.recompute)
        return F.relu(y) if self.relu and not norms else y


class BasicBlock(reference.BasicBlock):
    """:class:`hgfast.reference.BasicBlock` as one operation: same arguments, keys and results.

    The residual sum and its gradient are part of BatchNorm's kernels. For the gradient it keeps the block's input and
    the outputs of the convolutions, not what BatchNorm and ReLU made of them.
    """

    recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        convs, norms, shortcut_stride = [self.conv1, self.conv2], [self.bn1, self.bn2], None
        if self.downsample is not None:
            pair = conv_and_norm(self.downsample)
            if pair is None:
                refuse_plain(self, x)
                return super().forward(x)
            convs, norms, shortcut_stride = [*convs, pair[0]], [*norms, pair[1]], pair[0].stride[0]
        if not are_plain(convs, norms) or self.conv2.stride[0] != 1:
            refuse_plain(self, x)
            return super().forward(x)
        program = basic_program(self.conv1.stride[0], shortcut_stride)
        return run(program, [x], parameters_of(*convs), norms, self.recompute)


class Bottleneck(reference.Bottleneck):
    """:class:`hgfast.reference.Bottleneck` as one operation: same arguments, keys and results.

    The sum with the skip is part of the last convolution, its gradient part of the first BatchNorm's kernel. For the
    gradient it keeps the block's input and the outputs of the first two convolutions.
    """

    recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        modules = [self.conv1, self.conv2, self.conv3, *([self.skip_layer] if self.need_skip else [])]
        convs, norms = [module.conv for module in modules], [self.bn1, self.bn2, self.bn3]
        if has_hooks(*modules) or not are_plain(convs, norms) or any(conv.stride[0] != 1 for conv in convs):
            refuse_plain(self, x)
            return super().forward(x)
        return run(bottleneck_program(self.need_skip), [x], parameters_of(*convs), norms, self.recompute)


FUSED = BlockSet(
    ConvModule,
    BasicBlock,
    Bottleneck,
    UpsampleAdd,
    MaxPool,
    memory_format=torch.channels_last,
)
