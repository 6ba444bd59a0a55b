"""Pose networks: MMPose's hourglass52/104 and Newell's stacked hourglass, each fused or as plain PyTorch."""

from hgfast.models.hourglass_pose import HourglassBackbone, HourglassPose
from hgfast.models.registry import MODELS, build
from hgfast.models.stacked_hourglass import StackedHourglass

__all__ = ["MODELS", "HourglassBackbone", "HourglassPose", "StackedHourglass", "build"]
