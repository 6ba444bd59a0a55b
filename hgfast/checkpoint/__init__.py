"""Checkpoints of hgfast, MMPose (0.x and 1.x) and princeton-vl: load, save, convert."""

from hgfast.checkpoint.convert import convert_checkpoint, save_checkpoint
from hgfast.checkpoint.file import CheckpointError, read_checkpoint
from hgfast.checkpoint.load import LoadReport, load_checkpoint

__all__ = [
    "CheckpointError",
    "LoadReport",
    "convert_checkpoint",
    "load_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
]
