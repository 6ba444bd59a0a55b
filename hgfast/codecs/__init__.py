"""Heatmap codecs (keypoints to targets, heatmaps to keypoints) and the affine maps between picture and input."""

from hgfast.codecs.heatmap import HeatmapCodec
from hgfast.codecs.msra import MSRAHeatmap
from hgfast.codecs.newell import NewellHeatmap
from hgfast.codecs.registry import CODECS, build
from hgfast.codecs.udp import UDPHeatmap
from hgfast.codecs.udp_exact import ExactUDPHeatmap

__all__ = ["CODECS", "ExactUDPHeatmap", "HeatmapCodec", "MSRAHeatmap", "NewellHeatmap", "UDPHeatmap", "build"]
