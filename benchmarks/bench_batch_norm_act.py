"""batch_norm_act in training: forward and backward against eager's BatchNorm, sum and ReLU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Call, Case, benchmark_test
from hgfast.ops import batch_norm_act

YARDSTICK = "yardstick: copies of as many bytes"
Shape = tuple[int, int, int, int]


def eager(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, residual: Tensor | None) -> Tensor:
    """What a residual block does without hgfast."""
    y = F.batch_norm(x, mean, var, weight, bias, training=True)
    return F.relu(y if residual is None else y + residual, inplace=True)


def ours(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, residual: Tensor | None) -> Tensor:
    """The fused operation."""
    return batch_norm_act(x, weight, bias, mean, var, True, residual=residual)


def step(function: Callable[..., Tensor], inputs: list[Tensor], statistics: list[Tensor], grad: Tensor) -> None:
    """Forward and backward; inputs: x, weight, bias and perhaps the residual."""
    x, weight, bias, *residual = inputs
    out = function(x, weight, bias, *statistics, residual[0] if residual else None)
    torch.autograd.grad(out, inputs, grad)


def copy_pairs(tensors: list[Tensor]) -> None:
    """As many bytes as the operation has to move, by torch.copy_ between different tensors."""
    for target, source in zip(tensors[::2], tensors[1::2], strict=True):
        target.copy_(source)


def make(device: str, shape: Shape, with_residual: bool) -> dict[str, Call]:
    """channels_last for all, eager in NCHW as well; tensors of its own for each, or the second would find them warm."""

    def inputs(memory_format: torch.memory_format) -> tuple[list[Tensor], Tensor]:
        x, residual, grad = (
            torch.randn(shape, device=device).contiguous(memory_format=memory_format) for _ in range(3)
        )
        affine = [torch.rand(shape[1], device=device) for _ in range(2)]
        wanted = [x, *affine, *([residual] if with_residual else [])]
        return [t.requires_grad_() for t in wanted], grad

    def training(function: Callable[..., Tensor], memory_format: torch.memory_format = torch.channels_last) -> Call:
        wanted, grad = inputs(memory_format)
        statistics = [torch.zeros(shape[1], device=device), torch.ones(shape[1], device=device)]
        return partial(step, function, wanted, statistics, grad)

    copies = [torch.empty(shape, device=device) for _ in range(10 if with_residual else 8)]
    return {
        "hgfast": training(ours),
        "eager channels_last": training(eager),
        "eager NCHW": training(eager, torch.contiguous_format),
        "torch.compile": training(torch.compile(eager)),
        YARDSTICK: partial(copy_pairs, copies),
    }


def case(shape: Shape, with_residual: bool) -> Case:
    """One comparison. Tensors moved: statistics 1, apply 2 to 3, reduction 2 to 3, gradient 3."""
    n, c, h, w = shape
    tensors = 10 if with_residual else 8
    what = "bn+add+relu" if with_residual else "bn+relu"
    return Case(
        f"batch_norm_act/{what}/{'x'.join(map(str, shape))}",
        ("hgfast", "eager channels_last", "eager NCHW", "torch.compile", YARDSTICK),
        partial(make, shape=shape, with_residual=with_residual),
        bytes=4.0 * n * c * h * w * tensors,
    )


CASES = [case((8, 256, 64, 64), True), case((8, 256, 64, 64), False), case((8, 384, 16, 16), True)]

test_case = benchmark_test(CASES)
