"""Whole networks frozen in bfloat16, against runtimes that compute in it, and float32; 256x256, batch 1 and 8.

    python -m benchmarks.table --only model_bf16/hourglass52 --device cpu --budget 60

OpenVINO takes bfloat16 by itself where the processor multiplies in it. Times of float32 stand beside, as where it does
not they are the same arithmetic.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from benchmarks.bench_model import SETTLE, SIZE, Frozen
from benchmarks.harness import Call, Case, benchmark_test
from benchmarks.models import GFLOP, network
from benchmarks.peers import BFLOAT16_MAKERS, Lazy, available_peers

OURS = ("hgfast", "hgfast, float32")
FLOAT32 = ("ONNX Runtime", "OpenVINO")
QUICK = "hg2/1x"


def peers() -> list[str]:
    """Of bfloat16, then of float32."""
    return [*available_peers(BFLOAT16_MAKERS), *(name for name in available_peers() if name in FLOAT32)]


def make(device: str, name: str, batch: int) -> dict[str, Call]:
    """All on the same images."""
    images = torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(batch))
    ours = dict(zip(OURS, (Frozen(name, images, dtype) for dtype in (torch.bfloat16, torch.float32)), strict=True))
    return ours | {peer: Lazy(peer, network(name), images) for peer in peers()}


def case(name: str, batch: int, threads: int) -> Case:
    """One comparison."""
    return Case(
        f"model_bf16/{name}/{batch}x3x{SIZE}x{SIZE}/{threads}t",
        (*OURS, *peers()),
        partial(make, name=name, batch=batch),
        flops=GFLOP[name] * 1e9 * batch,
        arithmetic="bfloat16",
        threads=threads,
        devices=("cpu",),
        settle=SETTLE if threads > 1 else 0,
    )


CASES = [case(name, batch, threads) for batch in (1, 8) for name in GFLOP for threads in (1, 2)]

test_case = benchmark_test([replace(quick, peers=OURS) for quick in CASES if QUICK in quick.name], rounds=3)
