"""Drop-in modules."""

from hgfast.nn.blocks import BasicBlock, Bottleneck
from hgfast.nn.heatmap_decoder import HeatmapDecoder
from hgfast.nn.hourglass import HourglassModule, NewellHourglass
from hgfast.nn.merge import UpsampleAdd

__all__ = ["BasicBlock", "Bottleneck", "HeatmapDecoder", "HourglassModule", "NewellHourglass", "UpsampleAdd"]
