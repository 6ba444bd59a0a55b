"""Tensors: kind, shape, device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hgfast._checks.objects import instance
from hgfast._checks.text import at

PLAIN = (torch.Tensor, torch.nn.Parameter)  # tensors whose data is where they say
FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
UNINITIALISED = (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer)  # of lazy modules


def tensor(
    where: str, name: str, value: Any, *, ndim: int | None = None, dtypes: Sequence[torch.dtype] = FLOATING
) -> None:
    """Require a dense (strided) tensor of the given rank and one of the given dtypes.

    Raises:
        TypeError: not a tensor, a sparse, nested, quantised or uninitialised one, or another dtype.
        ValueError: another rank.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{at(where, name)} must be a torch.Tensor, got {type(value).__name__}")
    if type(value) not in PLAIN and isinstance(value, UNINITIALISED):  # Parameter's metaclass takes 1 us to answer
        raise TypeError(f"{at(where, name)} must hold data, got a parameter that is not initialised yet")
    if value.layout != torch.strided or value.is_nested:
        layout = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        raise TypeError(f"{at(where, name)} must be a dense tensor, got layout {layout}")
    if value.dtype not in dtypes:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        came = str(value.dtype).removeprefix("torch.")
        raise TypeError(f"{at(where, name)} must have one of the dtypes {expected}; got {came}")
    if ndim is not None and value.dim() != ndim:
        raise ValueError(
            f"{at(where, name)} must have {ndim} dimensions, got {value.dim()} (shape {tuple(value.shape)})"
        )


def activations(where: str, name: str, value: Any) -> None:
    """Require a dense tensor (N, C, H, W) of floating-point numbers, with channels and pixels; N may be 0.

    Raises:
        TypeError: as :func:`tensor`.
        ValueError: another rank, or C, H or W is 0.
    """
    tensor(where, name, value, ndim=4)
    if 0 in value.shape[1:]:
        raise ValueError(f"{at(where, name)} must have channels and pixels, got shape {tuple(value.shape)}")


def same_device(value: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether both are on one device; on the CPU, where it counts, in half the time that comparing devices takes."""
    return value.is_cpu if other.is_cpu else value.device == other.device


def same_kind(where: str, first: tuple[str, torch.Tensor], *others: tuple[str, torch.Tensor | None]) -> None:
    """Require the first tensor's dtype and device of the others; None is passed over.

    Raises:
        TypeError: another dtype.
        ValueError: another device.
    """
    name, reference = first
    for other_name, other in others:
        if other is None:
            continue
        if other.dtype != reference.dtype:
            raise TypeError(f"{at(where, other_name)} must have {name}'s dtype {reference.dtype}, got {other.dtype}")
        if other.device != reference.device:
            raise ValueError(
                f"{at(where, other_name)} must be on {name}'s device {reference.device}, got {other.device}"
            )


def shape(where: str, name: str, value: torch.Tensor | np.ndarray, expected: Sequence[int], why: str = "") -> None:
    """Exactly this shape.

    Raises:
        ValueError: another shape.
    """
    if tuple(value.shape) != tuple(expected):
        note = f" ({why})" if why else ""
        raise ValueError(f"{at(where, name)} must have shape {tuple(expected)}{note}, got {tuple(value.shape)}")


def written(where: str, name: str, value: torch.Tensor) -> None:
    """Require of a tensor that is written in place that each element has memory of its own.

    Raises:
        ValueError: an expanded tensor.
    """
    strides = value.stride()
    if 0 in strides and value.numel() and any(s == 0 and n > 1 for s, n in zip(strides, value.shape, strict=True)):
        raise ValueError(
            f"{at(where, name)} must not be an expanded tensor, several elements of which are the same memory"
        )


def device(where: str, name: str, value: Any) -> torch.device:
    """Return a device that this machine has and that holds numbers (not "meta").

    Raises:
        TypeError: neither a str nor a torch.device.
        ValueError: no such device.
    """
    instance(where, name, value, str, torch.device)
    try:
        result = torch.device(value)
        torch.zeros(1, device=result).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{at(where, name)}: cannot use {str(value)!r} ({reason})") from None
    return result
