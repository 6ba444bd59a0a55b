"""The words of a refusal: which argument, and what came."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
import torch

short = reprlib.Repr()
short.maxstring = short.maxlong = short.maxother = 60


def describe(value: Any) -> str:
    """Describe what came, in short: its type, and shape or value where these say more."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        dtype = str(value.dtype).removeprefix("torch.")
        shape = "nested" if getattr(value, "is_nested", False) else tuple(value.shape)
        return f"{type(value).__name__} of {dtype} {shape}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return f"{type(value).__name__} {short.repr(value)}" if value is not None else "None"
    return type(value).__name__


def at(where: str, name: str) -> str:
    """Begin a message: function and argument, or the argument alone."""
    return f"{where}: {name}" if where else name
