"""The set of blocks from which fused networks are built."""

from __future__ import annotations

from functools import partial

import torch

from hgfast.nn.merge import UpsampleAdd
from hgfast.nn.pool import MaxPool
from hgfast.reference.blocks import BasicBlock, BlockSet, Bottleneck, ConvModule

__all__ = ["FUSED", "BasicBlock", "Bottleneck", "ConvModule", "MaxPool", "UpsampleAdd"]

FUSED = BlockSet(
    ConvModule,
    BasicBlock,
    Bottleneck,
    partial(UpsampleAdd, inplace=True),
    MaxPool,
    memory_format=torch.channels_last,
)
