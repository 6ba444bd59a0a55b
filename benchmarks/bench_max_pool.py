"""max_pool at the sizes of Newell's hourglass: forward, and the gradient beside another consumer of its input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.bench_upsample_add import Shape, size
from benchmarks.harness import Call, Case, benchmark_test
from hgfast.ops import max_pool, max_pool_branch

Branch = Callable[[Tensor], tuple[Tensor, Tensor]]


def pool_input(device: str, shape: Shape) -> Tensor:
    """What a level of an hourglass gets, channels_last."""
    return torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)


def eager(x: Tensor) -> Tensor:
    """What a network does without hgfast."""
    return F.max_pool2d(x, 2)


def forward(device: str, shape: Shape) -> dict[str, Call]:
    """Without a gradient, against torch in both layouts and compiled."""
    x = pool_input(device, shape)
    return {
        "hgfast": partial(max_pool, x),
        "eager channels_last": partial(eager, x),
        "eager NCHW": partial(eager, x.contiguous()),
        "torch.compile": partial(torch.compile(eager), x),
    }


def backward(device: str, shape: Shape) -> dict[str, Call]:
    """The gradient of x, which is also read by something whose gradient is added."""
    x = pool_input(device, shape).requires_grad_()
    nchw = x.detach().contiguous().requires_grad_()
    grads = torch.randn_like(x), torch.randn_like(max_pool(x.detach()))

    def call(branch: Branch, x: Tensor) -> Call:
        outputs = branch(x)
        outgoing = [grad.contiguous(memory_format=_format(x)) for grad in grads]
        return partial(torch.autograd.grad, outputs, x, outgoing, retain_graph=True)

    def separate(x: Tensor) -> tuple[Tensor, Tensor]:
        return x, eager(x)

    return {
        "hgfast": call(max_pool_branch, x),
        "eager channels_last": call(separate, x),
        "eager NCHW": call(separate, nchw),
        "hgfast, sum apart": call(lambda x: (x, max_pool(x)), x),
    }


def _format(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


SHAPES: list[Shape] = [(8, 256, 64, 64), (1, 256, 64, 64), (8, 256, 16, 16)]
FORWARD = ("hgfast", "eager channels_last", "eager NCHW", "torch.compile")
BACKWARD = ("hgfast", "eager channels_last", "eager NCHW", "hgfast, sum apart")
KINDS = (("max_pool", FORWARD, forward, 1.25), ("max_pool_backward", BACKWARD, backward, 3.25))
CASES = [
    Case(f"{name}/{'x'.join(map(str, shape))}", peers, partial(make, shape=shape), bytes=share * size(shape))
    for name, peers, make, share in KINDS
    for shape in SHAPES
]

test_case = benchmark_test(CASES)
