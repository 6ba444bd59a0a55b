"""One list of sample arguments for each registered op: tests/test_ops.py runs opcheck and torch.compile over them all.

An op's author adds a function here; an op without samples fails the test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

SAMPLES: dict[str, Callable[[str], list[tuple[Any, ...]]]] = {}


def samples(name: str) -> Callable[[Callable[[str], list[tuple[Any, ...]]]], Callable[[str], list[tuple[Any, ...]]]]:
    """Decorator: the function gives sample argument tuples of op `name` on a device."""

    def register(make: Callable[[str], list[tuple[Any, ...]]]) -> Callable[[str], list[tuple[Any, ...]]]:
        SAMPLES[name] = make
        return make

    return register


def _nhwc(*shape: int, device: str, grad: bool = False) -> torch.Tensor:
    x = torch.randn(*shape, device=device).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_(grad)


@samples("upsample_add")
def _upsample_add(device: str) -> list[tuple[Any, ...]]:
    return [
        (_nhwc(2, 8, 6, 4, device=device, grad=True), _nhwc(2, 8, 3, 2, device=device, grad=True)),
        (torch.randn(1, 3, 5, 7, device=device), torch.randn(1, 3, 3, 4, device=device)),
    ]


@samples("upsample_add_backward")
def _upsample_add_backward(device: str) -> list[tuple[Any, ...]]:
    return [
        (_nhwc(2, 8, 6, 4, device=device, grad=True), 3, 2),
        (torch.randn(1, 3, 5, 7, device=device), 3, 4),
    ]


@samples("upsample_add_out")
def _upsample_add_out(device: str) -> list[tuple[Any, ...]]:
    return [(_nhwc(2, 8, 6, 4, device=device), _nhwc(2, 8, 3, 2, device=device), _nhwc(2, 8, 6, 4, device=device))]
