"""hgfast: fused kernels and drop-in modules for stacked-hourglass pose networks.

The names below are imported when they are first asked for: torch takes seconds, and the command line need not wait for
it. ``import hgfast.ops`` registers the operators, which programs of torch.export and AOTInductor need.
"""

__version__ = "0.1.0"

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hgfast import models, nn, ops
    from hgfast._build_info import build_info
    from hgfast.checkpoint import load_checkpoint
    from hgfast.frozen.freeze import freeze
    from hgfast.frozen.model import FrozenModel
    from hgfast.fusion.fuse import FusionReport, fuse, unfuse
    from hgfast.predict import Predictor

__all__ = [
    "FrozenModel",
    "FusionReport",
    "Predictor",
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

_HOMES = {
    "FrozenModel": "frozen",
    "FusionReport": "fusion",
    "Predictor": "predict",
    "build_info": "_build_info",
    "freeze": "frozen",
    "fuse": "fusion",
    "load_checkpoint": "checkpoint",
    "unfuse": "fusion",
}
_PACKAGES = (
    "codecs", "data", "export", "hub", "metrics", "models", "nn", "ops", "predict", "reference", "results", "train",
    "viz",
)  # fmt: skip

if not TYPE_CHECKING:  # a type checker shall see which names there are

    def __getattr__(name: str) -> Any:
        if name in _PACKAGES:
            return importlib.import_module(f"hgfast.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'hgfast' has no attribute {name!r}")
        found = getattr(importlib.import_module(f"hgfast.{_HOMES[name]}"), name)
        globals()[name] = found  # the next time nothing is asked
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_PACKAGES})
