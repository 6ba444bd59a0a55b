"""upsample_add: the merge at the sizes of an hourglass, forward and backward, against interpolate + add."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.harness import Call, Case, benchmark_test
from hgfast.ops import upsample_add

Shape = tuple[int, int, int, int]


def merge_inputs(device: str, shape: Shape, memory_format: torch.memory_format) -> tuple[torch.Tensor, torch.Tensor]:
    """skip and low of a merge with output `shape`."""
    n, c, h, w = shape
    skip = torch.randn(shape, device=device).contiguous(memory_format=memory_format)
    return skip, torch.randn(n, c, h // 2, w // 2, device=device).contiguous(memory_format=memory_format)


def eager(skip: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """What a network does without hgfast."""
    return skip + F.interpolate(low, scale_factor=2, mode="nearest")


def forward(device: str, shape: Shape) -> dict[str, Call]:
    """In place and fresh, against eager in both layouts, a compiled expression and one torch.add of that size."""
    skip, low = merge_inputs(device, shape, torch.channels_last)
    nchw_skip, nchw_low = merge_inputs(device, shape, torch.contiguous_format)
    compiled, out = torch.compile(eager), torch.empty_like(skip)
    in_place_skip = skip.clone()
    return {
        "hgfast": partial(upsample_add, in_place_skip, low, out=in_place_skip),
        "eager channels_last": partial(eager, skip, low),
        "eager NCHW": partial(eager, nchw_skip, nchw_low),
        "hgfast, fresh output": partial(upsample_add, skip, low),
        "torch.compile": partial(compiled, skip, low),
        "yardstick: torch.add(out=)": partial(torch.add, skip, skip, out=out),
    }


def backward(device: str, shape: Shape) -> dict[str, Call]:
    """Gradient of low from the incoming one; eager also copies nothing for skip."""
    skip, low = merge_inputs(device, shape, torch.channels_last)
    low.requires_grad_()
    ours, theirs = upsample_add(skip, low), eager(skip, low)
    return {
        "hgfast": partial(torch.autograd.grad, ours, low, skip, retain_graph=True),
        "eager channels_last": partial(torch.autograd.grad, theirs, low, skip, retain_graph=True),
    }


def size(shape: Shape) -> int:
    """Bytes of a float32 tensor."""
    n, c, h, w = shape
    return 4 * n * c * h * w


MERGE_PEERS = (
    "hgfast",
    "eager channels_last",
    "eager NCHW",
    "hgfast, fresh output",
    "torch.compile",
    "yardstick: torch.add(out=)",
)
SHAPES: list[Shape] = [(8, 256, 64, 64), (1, 256, 64, 64), (8, 384, 16, 16)]
CASES = [
    Case(
        f"upsample_add/{'x'.join(map(str, shape))}",
        MERGE_PEERS,
        partial(forward, shape=shape),
        bytes=2.25 * size(shape),
    )
    for shape in SHAPES
]
CASES += [
    Case(
        f"upsample_add_backward/{'x'.join(map(str, shape))}",
        ("hgfast", "eager channels_last"),
        partial(backward, shape=shape),
        bytes=1.25 * size(shape),
    )
    for shape in SHAPES[:1]
]

test_case = benchmark_test(CASES)
