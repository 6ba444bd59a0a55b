"""hgfast: fused kernels and drop-in modules for stacked-hourglass pose networks."""

__version__ = "0.1.0"

from hgfast import models, nn, ops
from hgfast._native import build_info

__all__ = ["__version__", "build_info", "models", "nn", "ops"]
