"""Memory formats of activations: each op works in that of its first tensor, or in channels_last where it has none."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from hgfast._native import NCHW, layout_of
from hgfast.ops._operands import expect

Tensor = torch.Tensor
MaybeTensor = TypeVar("MaybeTensor", Tensor, Tensor | None)


def memory_format_of(x: Tensor) -> torch.memory_format:
    """x's own format, or channels_last where it is not dense."""
    return torch.contiguous_format if layout_of(x) == NCHW else torch.channels_last


def dense(value: MaybeTensor, like: Tensor) -> MaybeTensor:
    """value (N, C, h, w), dense in the memory format of `like`."""
    return None if value is None else value.contiguous(memory_format=memory_format_of(like))


def dense_like(op: str, x: Tensor, others: dict[str, Tensor | None]) -> list[Any]:
    """x (N, C, H, W) and others like it, all dense in x's memory format.

    Raises:
        TypeError: another dtype than x's.
        ValueError: another shape or device than x's.
    """
    memory_format, shape = memory_format_of(x), x.shape
    for name, value in others.items():
        expect(op, name, value, shape, x)
    values = (x, *others.values())
    return [None if value is None else value.contiguous(memory_format=memory_format) for value in values]


def empty(like: Tensor, height: Any, width: Any) -> Tensor:
    """Return an uninitialised (N, C, height, width), else as `like`: its N, C, dtype, device and memory format."""
    shape, memory_format = (*like.shape[:2], height, width), memory_format_of(like)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)


def empty_dense(x: Tensor) -> Tensor:
    """Return an uninitialised tensor like x made dense."""
    return empty(x, *x.shape[2:])
