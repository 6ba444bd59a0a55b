"""Argument checks of the public functions. Each error names function, argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def tensor(
    op: str, name: str, value: Any, *, ndim: int | None = None, dtypes: Sequence[torch.dtype] = FLOATING
) -> None:
    """A tensor of the given rank and one of the given dtypes.

    Raises:
        TypeError: not a tensor, or another dtype.
        ValueError: another rank.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{op}: {name} must be a torch.Tensor, got {type(value).__name__}")
    if value.dtype not in dtypes:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(
            f"{op}: {name} must have one of the dtypes {expected}; got {str(value.dtype).removeprefix('torch.')}"
        )
    if ndim is not None and value.dim() != ndim:
        raise ValueError(f"{op}: {name} must have {ndim} dimensions, got {value.dim()} (shape {tuple(value.shape)})")


def same_kind(op: str, first: tuple[str, torch.Tensor], *others: tuple[str, torch.Tensor | None]) -> None:
    """The other tensors have the first one's dtype and device; None is passed over.

    Raises:
        TypeError: another dtype.
        ValueError: another device.
    """
    name, reference = first
    for other_name, other in others:
        if other is None:
            continue
        if other.dtype != reference.dtype:
            raise TypeError(f"{op}: {other_name} must have {name}'s dtype {reference.dtype}, got {other.dtype}")
        if other.device != reference.device:
            raise ValueError(f"{op}: {other_name} must be on {name}'s device {reference.device}, got {other.device}")


def shape(op: str, name: str, value: torch.Tensor, expected: Sequence[int], why: str = "") -> None:
    """Exactly this shape.

    Raises:
        ValueError: another shape.
    """
    if tuple(value.shape) != tuple(expected):
        note = f" ({why})" if why else ""
        raise ValueError(f"{op}: {name} must have shape {tuple(expected)}{note}, got {tuple(value.shape)}")


def choice(op: str, name: str, value: Any, allowed: Sequence[Any]) -> None:
    """One of a list of values.

    Raises:
        ValueError: another value.
    """
    if value not in allowed:
        raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
