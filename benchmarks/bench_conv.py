"""conv_bias_act on the CPU at the levels of hourglass52 and in Newell's bottleneck: float32, batch 1, against ATen.

    python -m benchmarks.table --only conv/ --device cpu

FLOPs are those of the direct algorithm, so that Winograd's rates may exceed the machine's peak. In a loop weights stay
in the caches, which they do not in a network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.bench_cuda import activations, convolved
from benchmarks.harness import Call, Case, benchmark_test
from hgfast.ops import conv_bias_act

Level = tuple[int, int, int, int, int]
"""Side of the input, its channels, those of the output, kernel, stride."""

HOURGLASS52: list[Level] = [
    (256, 3, 128, 7, 2),
    (128, 128, 256, 3, 2),
    (64, 256, 256, 3, 1),
    (32, 256, 256, 3, 1),
    (16, 384, 384, 3, 1),
    (8, 384, 384, 3, 1),
    (4, 384, 384, 3, 1),
    (2, 512, 512, 3, 1),
]
NEWELL: list[Level] = [(64, 256, 128, 1, 1), (64, 128, 128, 3, 1), (64, 128, 256, 1, 1)]
PEERS = ("hgfast", "ATen channels_last", "ATen NCHW", "torch.compile")


def with_residual(level: Level) -> bool:
    """Every second convolution of a block has one; here those that keep size and width, and the bottleneck's last."""
    _, c, k, kernel, stride = level
    return stride == 1 and (c == k or (kernel == 1 and k > c))


def without_gradient(function: Callable[..., Tensor], *arguments: object) -> Tensor:
    """As in inference."""
    with torch.inference_mode():
        return function(*arguments)


def ours(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, stride: int) -> Tensor:
    """The fused operator."""
    return conv_bias_act(x, weight, bias, stride, residual)


def make(device: str, level: Level) -> dict[str, Call]:
    """All peers on the same values."""
    side, c, k, kernel, stride = level
    torch.manual_seed(0)
    x = activations((1, c, side, side), device, torch.float32)
    weight, bias = torch.randn(k, c, kernel, kernel) / (c * kernel**2) ** 0.5, torch.randn(k)
    out = side // stride
    residual = activations((1, k, out, out), device, torch.float32) if with_residual(level) else None
    nchw = x.contiguous(), weight, bias, None if residual is None else residual.contiguous(), stride
    nhwc = x, weight.contiguous(memory_format=torch.channels_last), bias, residual, stride
    torch._dynamo.reset()  # or it gives up after eight shapes
    compiled = torch.compile(convolved)
    return {
        "hgfast": partial(without_gradient, ours, *nhwc),
        "ATen channels_last": partial(without_gradient, convolved, *nhwc),
        "ATen NCHW": partial(without_gradient, convolved, *nchw),
        "torch.compile": partial(without_gradient, compiled, *nhwc),
    }


def case(level: Level, threads: int) -> Case:
    """One comparison."""
    side, c, k, kernel, stride = level
    out, added = (side // stride) ** 2, int(with_residual(level))
    return Case(
        f"conv/{kernel}x{kernel}s{stride} {c}-{k} at {side}/{threads}t",
        PEERS,
        partial(make, level=level),
        bytes=4 * (side**2 * c + out * k * (1 + added) + c * k * kernel**2),
        flops=2 * out * c * k * kernel**2,
        threads=threads,
        devices=("cpu",),
    )


CASES = [case(level, threads) for threads in (1, 2) for level in HOURGLASS52 + NEWELL]

test_case = benchmark_test(CASES)
