"""hgfast: fused kernels and drop-in modules for stacked-hourglass pose networks."""

__version__ = "0.1.0"

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from hgfast import models, nn, ops
from hgfast._native import build_info
from hgfast.checkpoint import load_checkpoint
from hgfast.frozen import FrozenModel, freeze
from hgfast.fusion import FusionReport, fuse, unfuse

__all__ = [
    "FrozenModel",
    "FusionReport",
    "__version__",
    "build_info",
    "freeze",
    "fuse",
    "load_checkpoint",
    "models",
    "nn",
    "ops",
    "unfuse",
]

# these need OpenCV, or much time to load
_ON_DEMAND = ("codecs", "data", "metrics", "predict", "reference", "results", "train", "viz")

if not TYPE_CHECKING:  # a type checker shall see which names there are

    def __getattr__(name: str) -> ModuleType:
        if name in _ON_DEMAND:
            return importlib.import_module(f"hgfast.{name}")
        raise AttributeError(f"module 'hgfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_DEMAND})
