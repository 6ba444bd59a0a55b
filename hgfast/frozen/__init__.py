"""Networks for inference: `hgfast.freeze(model)` and what it is made of."""

from hgfast.frozen.freeze import freeze
from hgfast.frozen.model import FrozenModel

__all__ = ["FrozenModel", "freeze"]
