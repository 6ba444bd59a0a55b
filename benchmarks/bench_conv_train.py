"""The convolutions of a training step at hourglass52's levels: forward, input gradient, weight gradient."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.harness import Call, Case, benchmark_test
from hgfast import reference
from hgfast.ops import _conv_train as train

PEERS = ("hgfast", "eager channels_last", "eager NCHW")
PARTS = ("forward", "input gradient", "weight gradient")
# C, K, size of the input, kernel, stride: hourglass52's, and the two 1x1 of Newell's bottleneck
LAYERS = [
    (256, 256, 64, 3, 1),
    (256, 256, 32, 3, 1),
    (384, 384, 16, 3, 1),
    (384, 384, 8, 3, 1),
    (384, 384, 4, 3, 1),
    (512, 512, 2, 3, 1),
    (128, 256, 128, 3, 2),
    (256, 256, 64, 3, 2),
    (128, 128, 64, 3, 1),
    (256, 128, 64, 1, 1),
    (128, 256, 64, 1, 1),
]


def calls(device: str, part: str, batch: int, layer: tuple[int, int, int, int, int]) -> dict[str, Call]:
    """One part of one layer by the three peers, weights in OIHW order."""
    c, k, size, kernel, stride = layer
    weight = torch.randn(k, c, kernel, kernel, device=device) / (c * kernel**2) ** 0.5
    tensors = {
        "channels_last": torch.randn(batch, c, size, size, device=device).contiguous(memory_format=torch.channels_last)
    }
    tensors["NCHW"] = tensors["channels_last"].contiguous()
    needs = (part == "input gradient", part == "weight gradient", False)

    def eager(x: torch.Tensor) -> Call:
        y = torch.conv2d(x, weight, None, stride, kernel // 2)
        if part == "forward":
            return partial(torch.conv2d, x, weight, None, stride, kernel // 2)
        return partial(reference.conv2d_gradients, torch.randn_like(y), x, weight, stride, needs)

    x = tensors["channels_last"]
    grad = torch.randn_like(torch.conv2d(x, weight, None, stride, kernel // 2))
    if part == "forward":
        ours: Call = partial(train.forward, x, weight, None, stride)
    else:
        ours = partial(train.backward, grad, x, weight, stride, needs)
    return {"hgfast": ours, "eager channels_last": eager(x), "eager NCHW": eager(tensors["NCHW"])}


def flops(batch: int, layer: tuple[int, int, int, int, int]) -> float:
    """Of the direct algorithm, the same for all three parts."""
    c, k, size, kernel, stride = layer
    return 2.0 * batch * (size // stride) ** 2 * kernel**2 * c * k


CASES = [
    Case(
        f"conv_train/{part}/{batch}x{c}->{k} {kernel}x{kernel}/{stride} at {size}",
        PEERS,
        partial(calls, part=part, batch=batch, layer=(c, k, size, kernel, stride)),
        flops=flops(batch, (c, k, size, kernel, stride)),
        devices=("cpu",),
    )
    for (c, k, size, kernel, stride) in LAYERS
    for batch in (2, 4)
    for part in PARTS
]

test_case = benchmark_test(CASES)
