"""Drop-in modules."""

from hgfast.nn.blocks import BasicBlock, Bottleneck
from hgfast.nn.hourglass import HourglassModule, NewellHourglass
from hgfast.nn.merge import UpsampleAdd

__all__ = ["BasicBlock", "Bottleneck", "HourglassModule", "NewellHourglass", "UpsampleAdd"]
