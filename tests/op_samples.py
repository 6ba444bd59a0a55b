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


def _points(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    keypoints = torch.tensor([[[3.2, 4.7], [0.0, 11.5], [-40.0, 2.0]], [[9.9, 0.4], [5.0, 5.0], [7.5, 3.5]]])
    return keypoints.to(device), torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, 0.49]]).to(device)


@samples("gaussian_heatmaps")
def _gaussian_heatmaps(device: str) -> list[tuple[Any, ...]]:
    return [(*_points(device), 10, 12, 1.5, kind, torch.float32) for kind in range(4)]


@samples("keypoint_mse")
def _keypoint_mse(device: str) -> list[tuple[Any, ...]]:
    target, weight = torch.rand(2, 3, 6, 4, device=device), torch.rand(2, 3, device=device)
    return [
        (_nhwc(2, 3, 6, 4, device=device, grad=True), target, weight, True),
        (torch.randn(2, 3, 6, 4, device=device), target, None, False),
    ]


@samples("keypoint_mse_from_points")
def _keypoint_mse_from_points(device: str) -> list[tuple[Any, ...]]:
    return [
        (_nhwc(2, 3, 12, 10, device=device, grad=True), *_points(device), 1.5, 0, True),
        (torch.randn(2, 3, 12, 10, device=device), *_points(device), 1.5, 2, False),
    ]
