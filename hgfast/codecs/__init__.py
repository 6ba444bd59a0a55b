"""Heatmap codecs (keypoints to targets, heatmaps to keypoints) and the affine maps between picture and input."""

from hgfast.codecs.heatmap import HeatmapCodec, MSRAHeatmap, NewellHeatmap, UDPHeatmap

__all__ = ["HeatmapCodec", "MSRAHeatmap", "NewellHeatmap", "UDPHeatmap"]
