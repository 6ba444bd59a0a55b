"""Arrays of numbers, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hgfast._checks.text import at, describe


def array(
    where: str,
    name: str,
    value: Any,
    expected: Sequence[int | None] | None = None,
    *,
    finite: bool = False,
    why: str = "",
) -> np.ndarray:
    """Real numbers as an array: of a dense tensor, an array or nested lists; None in `expected` stands for any length.

    `why` says where the expected lengths come from.

    Raises:
        TypeError: something that holds no real numbers.
        ValueError: ragged lists, another shape, or, with finite, NaN or an infinity.
    """
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_nested or value.is_quantized or value.device.type == "meta":
            raise TypeError(f"{at(where, name)} must be a dense tensor with data, got {describe(value)}")
        if value.is_complex():
            raise TypeError(f"{at(where, name)} must hold real numbers, got {describe(value)}")
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    elif not isinstance(value, (np.ndarray, np.generic, list, tuple, int, float)):
        raise TypeError(f"{at(where, name)} must be an array of numbers, got {describe(value)}")
    try:
        result = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{at(where, name)} must be an array of numbers of one shape: {error}") from None
    if result.dtype.kind not in "biuf":
        raise TypeError(f"{at(where, name)} must hold real numbers, got dtype {result.dtype}")
    if expected is not None:
        fits = result.ndim == len(expected)
        if not fits or any(e is not None and e != s for e, s in zip(expected, result.shape, strict=True)):
            wanted = ", ".join("any" if e is None else str(e) for e in expected)
            note = f" ({why})" if why else ""
            raise ValueError(f"{at(where, name)} must have shape ({wanted}){note}, got {result.shape}")
    if finite and not np.isfinite(result).all():
        raise ValueError(f"{at(where, name)} must be finite, got NaN or an infinity")
    return result


def picture(where: str, name: str, value: Any, expected: str = "a uint8 array (H, W, 3)") -> None:
    """Require a picture as OpenCV has it: uint8 (H, W, 3), not empty.

    Raises:
        TypeError: not such an array.
        ValueError: another shape.
    """
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        raise TypeError(f"{at(where, name)} must be {expected}, got {describe(value)}")
    if value.ndim != 3 or value.shape[2] != 3 or 0 in value.shape:
        raise ValueError(f"{at(where, name)} must have shape (H, W, 3), got {value.shape}")
