"""What the device reaches at most: a large copy and large matrix products on random data, through torch."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from benchmarks.device.machine import CLOCK_FIELDS, query_card
from benchmarks.harness import synchronize, timed_round

ROUNDS = 12
COPY_BYTES = {"cuda": 2**31, "cpu": 2**28}  # far more than any cache holds
SIDES = {"cuda": 8192, "cpu": 1536}  # of the matrices; half as long on a card for float32


def fastest_typical(call: Callable[[], Any], device: str) -> float:
    """Median seconds of a call after three to warm up."""
    for _ in range(3):
        call()
    synchronize(device)
    return statistics.median(timed_round(call, device, 1) for _ in range(ROUNDS))


def copy_rate(device: str) -> float:
    """Bytes per second, read plus written, of a copy far larger than any cache."""
    size = COPY_BYTES[device]
    source = torch.randint(0, 255, (size // 8,), dtype=torch.int64, device=device)
    target = torch.empty_like(source)
    return 2 * size / fastest_typical(partial(target.copy_, source), device)


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP per second of a square matrix product."""
    n = SIDES[device] // (2 if device == "cuda" and dtype == torch.float32 else 1)
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 / fastest_typical(partial(torch.matmul, a, b, out=out), device)


@contextmanager
def float32_as_tf32(allowed: bool) -> Iterator[None]:
    """Whether matrix products of float32 may round their operands to tf32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def measure(device: str, emit: Callable[[Any], None]) -> dict[str, Any]:
    """{"copy": bytes/s, "<dtype>": FLOP/s}, and on a card its clocks just after the products."""
    found: dict[str, Any] = {"copy": copy_rate(device)}
    emit(found)
    with float32_as_tf32(False):
        for dtype in ("float32",) if device == "cpu" else ("bfloat16", "float16", "float32"):
            found[dtype] = matmul_rate(device, getattr(torch, dtype))
            emit(found)
    if device == "cuda":
        with float32_as_tf32(True):
            found["tf32"] = matmul_rate(device, torch.float32)
        found["clocks_after"] = query_card(*CLOCK_FIELDS)
    return found
