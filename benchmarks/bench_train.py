"""One training step of whole networks on the CPU: forward, loss, backward; float32.

    python -m benchmarks.table --only train/hourglass52 --device cpu --budget 120

FLOPs are those of the direct algorithm, three times the forward pass. The optimizer, the same for all, is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hgfast
from benchmarks.harness import Call, Case, benchmark_test
from benchmarks.models import GFLOP, network

KEYPOINTS = 16


class Step:
    """A network's training step, made at the first call."""

    def __init__(self, make: Callable[[], Any], loss: Callable[..., Tensor], images: Tensor) -> None:
        self.make, self.loss, self.images = make, loss, images
        n, _, h, w = images.shape
        self.target = torch.rand(n, KEYPOINTS, h // 4, w // 4)
        self.model: Any = None

    def __call__(self) -> None:
        if self.model is None:
            self.model = self.make()
        heatmaps = self.model(self.images)
        sum((self.loss(stack, self.target) for stack in heatmaps), torch.zeros(())).backward()
        self.model.zero_grad(set_to_none=False)


def make(device: str, name: str, batch: int, size: int) -> dict[str, Call]:
    """All peers from the same weights."""
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(batch))
    nhwc = images.contiguous(memory_format=torch.channels_last)

    def plain(memory_format: torch.memory_format) -> nn.Module:
        return copy.deepcopy(network(name)).train().to(memory_format=memory_format)  # type: ignore[call-overload]

    last, first = torch.channels_last, torch.contiguous_format
    return {
        "hgfast": Step(lambda: hgfast.fuse(plain(last)), hgfast.ops.keypoint_mse, nhwc),
        "eager channels_last": Step(lambda: plain(last), F.mse_loss, nhwc),
        "eager NCHW": Step(lambda: plain(first), F.mse_loss, images),
        "hgfast, recompute": Step(lambda: hgfast.fuse(plain(last), recompute=True), hgfast.ops.keypoint_mse, nhwc),
        "torch.compile": Step(lambda: torch.compile(plain(last)), F.mse_loss, nhwc),
    }


def case(name: str, batch: int, size: int = 256, compiled: bool = True) -> Case:
    """One comparison."""
    peers = ("hgfast", "eager channels_last", "eager NCHW", "hgfast, recompute")
    return Case(
        f"train/{name}/{batch}x3x{size}x{size}",
        (*peers, "torch.compile") if compiled else peers,
        partial(make, name=name, batch=batch, size=size),
        flops=3 * GFLOP[name] * 1e9 * batch * (size / 256) ** 2,
        devices=("cpu",),
    )


SMALL = case("hourglass52", 2, 128, compiled=False)
CASES = [SMALL, case("hourglass52", 2), case("hg2", 2), case("hourglass52", 4)]

test_case = benchmark_test([SMALL])  # the others are for benchmarks.table: minutes
