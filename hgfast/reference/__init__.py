"""Plain PyTorch twins of the ops, blocks, hourglasses and losses: the oracle, written to be read."""

from hgfast.reference.blocks import REFERENCE, BasicBlock, BlockSet, Bottleneck, ConvModule, UpsampleAdd
from hgfast.reference.hourglass import HourglassModule, NewellHourglass
from hgfast.reference.upsample_add import upsample_add, upsample_add_backward

__all__ = [
    "REFERENCE",
    "BasicBlock",
    "BlockSet",
    "Bottleneck",
    "ConvModule",
    "HourglassModule",
    "NewellHourglass",
    "UpsampleAdd",
    "upsample_add",
    "upsample_add_backward",
]
