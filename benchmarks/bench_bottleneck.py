"""The whole pre-activation bottleneck of Newell's hourglass on a card, against three fused convolutions and PyTorch.

"three calls" are hgfast's convolutions as a frozen network runs them where one kernel for the block does not pay: they
read x already activated, which the call before them writes there (that write is not counted here, in their favour).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.bench_cuda import DTYPES, activations
from benchmarks.harness import Call, Case, benchmark_test
from hgfast import reference
from hgfast.ops import bottleneck, conv_bias_act

LEVELS = [(64, 64, 256, 128), (64, 64, 128, 64), (64, 32, 256, 128), (64, 16, 256, 128), (8, 64, 256, 128)]
"""Batch, side, channels, channels inside the block."""
PEERS = ("hgfast", "eager", "torch.compile", "hgfast, three calls")


def three_calls(x: Tensor, activated: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """conv1, conv2, conv3 with the skip."""
    t = conv_bias_act(activated, weights[0], biases[0])
    t = conv_bias_act(t, weights[1], biases[1])
    return conv_bias_act(t, weights[2], biases[2], residual=x, relu=False)


def make(device: str, level: tuple[int, int, int, int], dtype: torch.dtype) -> dict[str, Call]:
    """All peers on the same values."""
    n, side, c, m = level
    torch.manual_seed(0)
    x = activations((n, c, side, side), device, dtype)
    shapes = (m, c, 1, 1), (m, m, 3, 3), (c, m, 1, 1)
    weights = [(torch.randn(s, device=device) / (s[1] * s[2] * s[3]) ** 0.5).to(dtype) for s in shapes]
    scale, shift, *biases = (torch.randn(width, device=device) for width in (c, c, m, m, c))
    parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
    activated = (x * scale[:, None, None] + shift[:, None, None]).relu().to(dtype)
    half_biases = [bias.to(dtype) for bias in biases]
    return {
        "hgfast": partial(bottleneck, x, scale, shift, *parameters),
        "eager": partial(reference.bottleneck, x, scale, shift, *parameters),
        "torch.compile": partial(torch.compile(reference.bottleneck), x, scale, shift, *parameters),
        "hgfast, three calls": partial(three_calls, x, activated, weights, half_biases),
    }


def case(level: tuple[int, int, int, int], dtype: str) -> Case:
    """One comparison."""
    n, side, c, m = level
    pixels, products = n * side**2, 2 * c * m + 9 * m**2
    return Case(
        f"bottleneck/{n}x{c}-{m}x{side}x{side}/{dtype}",
        PEERS,
        partial(make, level=level, dtype=DTYPES[dtype]),
        bytes=2 * (2 * pixels * c + products),
        flops=2 * pixels * products,
        arithmetic=dtype,
        devices=("cuda",),
    )


CASES = [case(level, "bfloat16") for level in LEVELS] + [case(LEVELS[0], "float16")]

test_case = benchmark_test(CASES)
