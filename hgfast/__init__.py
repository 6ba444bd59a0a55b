"""hgfast: fused kernels and drop-in modules for stacked-hourglass pose networks."""

__version__ = "0.1.0"

from hgfast import models, nn, ops
from hgfast._native import build_info
from hgfast.checkpoint import load_checkpoint

__all__ = ["__version__", "build_info", "load_checkpoint", "models", "nn", "ops"]
