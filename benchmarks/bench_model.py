"""Whole networks, frozen, against every runtime that is installed: float32, 256x256, batch 1 and 8.

    python -m benchmarks.table --only model/hourglass52 --device cpu --budget 60

FLOPs are those of the direct algorithm, so that Winograd's rates may exceed the machine's peak. The table holds every
peer against ours in one interleaved run; under pytest hgfast runs all cases of two networks but only QUICK_PEERS beside
it, and only for one image, so that it ends within minutes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

import hgfast
from benchmarks.harness import Call, Case, benchmark_test
from benchmarks.models import GFLOP, network
from benchmarks.peers import ALLOWED_ERROR, BFLOAT16_ERROR, Lazy, available_peers, check

SIZE = 256
SETTLE = 0.06


class Frozen:
    """hgfast.freeze, at the first call."""

    def __init__(self, name: str, images: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.name, self.images, self.dtype = name, images, dtype
        self.model: hgfast.FrozenModel | None = None

    def __call__(self) -> Tensor:
        if self.model is None:
            self.model = frozen(self.name, self.dtype)
            allowed = ALLOWED_ERROR if self.dtype == torch.float32 else BFLOAT16_ERROR
            check("hgfast", self.model(self.images)[-1], network(self.name), self.images, allowed)
        return self.model(self.images)[-1]


@cache
def frozen(name: str, dtype: torch.dtype = torch.float32) -> hgfast.FrozenModel:
    """One frozen model for all cases: its packed weights are large."""
    return hgfast.freeze(network(name), dtype=dtype)


def make(device: str, name: str, batch: int) -> dict[str, Call]:
    """All peers on the same images."""
    images = torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(batch))
    return {"hgfast": Frozen(name, images)} | {peer: Lazy(peer, network(name), images) for peer in available_peers()}


def case(name: str, batch: int, threads: int) -> Case:
    """One comparison."""
    return Case(
        f"model/{name}/{batch}x3x{SIZE}x{SIZE}/{threads}t",
        ("hgfast", *available_peers()),
        partial(make, name=name, batch=batch),
        flops=GFLOP[name] * 1e9 * batch,
        threads=threads,
        devices=("cpu",),
        settle=SETTLE if threads > 1 else 0,
    )


CASES = [case(name, batch, threads) for batch in (1, 8) for name in GFLOP for threads in (1, 2)]

QUICK_PEERS = ("hgfast", "eager channels_last", "ONNX Runtime")
QUICK = [
    replace(quick, peers=[peer for peer in quick.peers if peer in QUICK_PEERS[: 3 if "/1x" in quick.name else 1]])
    for quick in CASES
    if "hg8" not in quick.name
]

test_case = benchmark_test(QUICK, rounds=3)
