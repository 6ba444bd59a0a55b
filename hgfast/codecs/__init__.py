"""Heatmap codecs (keypoints to targets, heatmaps to keypoints) and the affine maps between picture and input."""

from hgfast.codecs.heatmap import HeatmapCodec
from hgfast.codecs.msra import MSRAHeatmap
from hgfast.codecs.newell import NewellHeatmap
from hgfast.codecs.registry import CODECS, build
from hgfast.codecs.udp import UDPHeatmap

__all__ = ["CODECS", "HeatmapCodec", "MSRAHeatmap", "NewellHeatmap", "UDPHeatmap", "build"]
