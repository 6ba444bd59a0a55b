"""Drop-in modules."""

from hgfast.nn.batch_norm_act import BatchNormAct
from hgfast.nn.blocks import BasicBlock, Bottleneck, ConvModule
from hgfast.nn.heatmap_decoder import HeatmapDecoder
from hgfast.nn.hourglass import HourglassModule, NewellHourglass
from hgfast.nn.merge import UpsampleAdd
from hgfast.nn.synchronise import convert_sync_batchnorm

__all__ = [
    "BasicBlock",
    "BatchNormAct",
    "Bottleneck",
    "ConvModule",
    "HeatmapDecoder",
    "HourglassModule",
    "NewellHourglass",
    "UpsampleAdd",
    "convert_sync_batchnorm",
]
