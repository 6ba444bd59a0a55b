"""What stands in for an object of a class that torch's reader does not take: nothing of the class or the file is run.

MMPose's files carry such objects beside the weights (mmengine's log buffers, configurations). Of numpy's arrays and
numbers the stand-ins keep the parts, so that weights that were saved as arrays can be read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_SIZES = {"f2": np.float16, "f4": np.float32, "f8": np.float64, "i8": np.int64, "i4": np.int32, "b1": np.bool_}


class StandIn:
    """What an object of an unknown class becomes: its class's name. It takes and forgets whatever it is given."""

    name = ""

    def __new__(cls, *args: object, **kwargs: object) -> StandIn:
        """Take and forget any arguments."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Forget the state."""

    def __setitem__(self, key: object, value: object) -> None:
        """Forget the item."""


class NumpyPart(StandIn):
    """A numpy array, number or dtype; keeps what it is made of."""

    def __init__(self, *args: object) -> None:
        self.args = args
        self.state: object = None
        self.tensor: Tensor | None = None

    def __setstate__(self, state: object) -> None:
        """Keep the state."""
        self.state = state


_NUMPY = {f"{core}.multiarray.{name}" for core in ("numpy.core", "numpy._core") for name in ("_reconstruct", "scalar")}
_NUMPY |= {"_codecs.encode", "numpy.dtype", "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}


def stand_in_for(name: str) -> type[StandIn]:
    """Make a class of its own for the class or function of this full name."""
    return type("StandIn", (NumpyPart if name in _NUMPY else StandIn,), {"name": name})


def as_tensor(value: Any) -> Any:
    """Return the tensor that a numpy array or number stands for; anything else as it is."""
    if not isinstance(value, NumpyPart):
        return value
    try:
        value.tensor = value.tensor if value.tensor is not None else _as_tensor(value)
        return value.tensor
    except (TypeError, ValueError, OverflowError, AttributeError, IndexError):
        return value  # an array of another kind, or a broken one: no weight


def _as_tensor(part: NumpyPart) -> Tensor:
    if part.name.endswith(".scalar"):
        dtype, content = part.args
        return torch.from_numpy(np.frombuffer(_bytes(content), _dtype(dtype), 1).copy()).reshape(())
    shape: Any
    if part.name.endswith("._frombuffer"):  # as protocol 5 has arrays
        content, dtype, shape, order = part.args
        by_columns = order == "F"
    elif isinstance(part.state, tuple):
        _, shape, dtype, by_columns, content = part.state
    else:
        raise TypeError("an array without content")
    array = np.frombuffer(_bytes(content), _dtype(dtype))
    return torch.from_numpy(array.reshape(shape, order="F" if by_columns else "C").copy())


def _bytes(content: object) -> bytes:
    if isinstance(content, NumpyPart) and content.name == "_codecs.encode":  # as protocol 2 has bytes
        text, encoding = content.args
        content = text.encode(encoding) if isinstance(text, str) and encoding == "latin1" else None
    if not isinstance(content, (bytes, bytearray)):
        raise TypeError(f"expected bytes, got {type(content).__name__}")
    return bytes(content)


def _dtype(part: Any) -> np.dtype:
    """Return the dtype of a stand-in for one: its code, and the order of its bytes."""
    code, state = part.args[0], part.state
    order = state[1] if isinstance(state, tuple) else "="
    if code not in _SIZES or order not in ("<", "|", "="):
        raise ValueError(f"no dtype of weights: {code!r}")
    return np.dtype(_SIZES[code])
