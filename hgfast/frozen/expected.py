r"""What a call must give, by torch in float32, and by how much each element may differ from that.

For an output y of a kernel and the value v of torch:

    |y - v| <= unit |v| + bound

`unit` is half a step of the output's format at most: 2^-8 in bfloat16, 2^-11 in float16, 2^-24 in float32, what
rounding to nearest may change. `bound` is what summation in float32 may change, per output channel: inputs are at most
1 in size, so that the sizes of all terms of an element's sum add up to at most S = sum |w| + |bias| + 1 (the residual).
A tensor core adds 16 products (8 of float32 operands) and the sum so far in a step, each cut off at the last of the 24
bits of the largest of them. Zeros are not cut, and only T weights of a channel, 32 or so, are not zero: T products and
the sums before n steps, at most T of them, are. Inputs and weights are uniform, of both signs, so that S is 1.5 sqrt(T)
standard deviations of the sum, and no running sum, nor product, is beyond 5 of them, 0.6 S for 32: all cuts together
are below 0.6 (T + n) 2^-23 S, at most 2 * 32 * 0.6 = 39, while 2 n + 30 is 94 where n is 32, and 32 where it is 1 (of
17 cuts). Bias, residual and the like add one each, and so does each split of K:

    bound = (2 n + splits + 30) 2^-23 S

So few weights also make each of them count: a term that is lost changes its channel's result by a sixth of a standard
deviation, and every place of K is some channel's. float32 by three products of tf32 numbers takes three
times the steps, and leaves out of each product three parts of at most 2^-22: 6 * 2^-23 S more; tf32 alone would differ
by more. The second output, max(scale2 y + shift2, 0), may differ by |scale2| bound more. What is stored on the way
(torch's convolution before the pointwise kernel) may differ by `unit` of it, and cuDNN may transform float32: 8 times
the bound. torch's own sums here are by fused multiply-adds, rounded to nearest: their error is smaller.

A pointwise call multiplies, and adds twice: each of 4 roundings is at most 2^-23 (|scale| + |shift| + 1).

A whole bottleneck rounds twice inside, where a difference in the last bit of float32 may become one of the format. Its
inputs and weights are therefore drawn such that every sum of its first two convolutions is exact in float32: integers
times powers of two, which need 22 bits at most. The rounded values are then the same whoever sums them, in any order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hgfast.frozen.graph import BottleneckCall, ConvCall, NativeCall, PointwiseCall, PoolCall, Second, Value
from hgfast.frozen.torch_step import BY_TORCH, convolve
from hgfast.ops._bottleneck_native import BottleneckNeeds
from hgfast.ops._conv_native import ConvNeeds
from hgfast.reference.upsample_add import upsample_add

UNITS = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-24}
SMALLEST = 2.0**-24  # of float16, which rounds what is smaller to a multiple of it


@dataclass
class Expected:
    """An output in float32 (N, K, H, W), and by how much it may differ beyond `unit` of it (broadcastable)."""

    value: Tensor
    bound: Tensor


def expected(
    call: NativeCall, needs: ConvNeeds | BottleneckNeeds, inputs: dict[Value, Tensor], dtype: torch.dtype, exact: bool
) -> list[Expected]:
    """Compute the call's outputs, one or two, from float32 inputs (N, C, H, W) of at most 1 in size."""
    if isinstance(call, PoolCall):
        first = Expected(F.max_pool2d(inputs[call.x], 2), inputs[call.x].new_zeros(()))
    elif isinstance(call, PointwiseCall):
        first = _pointwise(call, inputs)
    elif isinstance(call, ConvCall):
        first = _convolution(call, needs, inputs, dtype, exact)
    else:
        first = _bottleneck(call, inputs, dtype)
    return [first] if call.second is None else [first, _second(call.second, first, needs, dtype)]


def accumulation_bound(call: ConvCall, splits: int, dtype: torch.dtype, exact: bool) -> Tensor:
    """Return the bound of the module's docstring, (1, K, 1, 1)."""
    weights = [call.weight] if call.extra is None else [call.weight, call.extra.weight[..., None, None]]
    terms = sum(weight[0].numel() for weight in weights)
    counts = sum((weight.ne(0).sum((1, 2, 3)) for weight in weights), torch.zeros_like(call.bias))
    steps = counts.clamp(max=-(-terms // (8 if dtype == torch.float32 else 16))) * (3 if exact else 1)
    sizes = sum((weight.abs().sum((1, 2, 3)) for weight in weights), call.bias.abs() + 1)
    return ((2 * steps + splits + 30 + 6 * exact) * 2.0**-23 * sizes + SMALLEST)[:, None, None]


def _convolution(
    call: ConvCall, needs: ConvNeeds | BottleneckNeeds, inputs: dict[Value, Tensor], dtype: torch.dtype, exact: bool
) -> Expected:
    bound = accumulation_bound(call, max(needs.algorithm // 16, 1), dtype, exact)
    stored: list[Tensor] = []
    v = sum_exactly(inputs[call.x], call.weight, call.stride)
    if call.extra is not None:
        extra = sum_exactly(inputs[call.extra.value], call.extra.weight[..., None, None], call.extra.stride)
        stored += [v, extra]
        v = v + extra
    stored.append(v)
    v = v + call.bias[:, None, None]
    if call.residual is not None:
        v = v + inputs[call.residual]
    if call.relu:
        v = v.relu()
    if needs.algorithm in BY_TORCH:
        bound = 8 * bound + UNITS[dtype] * sum(part.abs() for part in [*stored, v])
    if call.upsample_to is None:
        return Expected(v, bound)
    if bound.dim() == 4:
        bound = upsample_add(torch.zeros_like(inputs[call.upsample_to]), bound)
    return Expected(upsample_add(inputs[call.upsample_to], v), bound)


def _pointwise(call: PointwiseCall, inputs: dict[Value, Tensor]) -> Expected:
    scale, shift = call.scale[:, None, None], call.shift[:, None, None]
    v = scale * inputs[call.x] + shift
    bound = 4 * 2.0**-23 * (scale.abs() + shift.abs() + 1) + SMALLEST
    if call.residual is not None:
        v = v + inputs[call.residual]
    return Expected(v.relu() if call.relu else v, bound)


def _bottleneck(call: BottleneckCall, inputs: dict[Value, Tensor], dtype: torch.dtype) -> Expected:
    x = inputs[call.x]
    t = (call.scale[:, None, None] * x + call.shift[:, None, None]).relu().to(dtype).float()
    for conv in call.convs[:2]:
        t = (sum_exactly(t, conv.weight) + conv.bias[:, None, None]).relu().to(dtype).float()
    last = call.convs[2]
    v = sum_exactly(t, last.weight) + last.bias[:, None, None] + x
    bound = accumulation_bound(last, 1, dtype, exact=False) * t.max().clamp(min=1)
    return Expected(v if call.upsample_to is None else upsample_add(inputs[call.upsample_to], v), bound)


def _second(second: Second, first: Expected, needs: ConvNeeds | BottleneckNeeds, dtype: torch.dtype) -> Expected:
    scale, shift = second.scale[:, None, None], second.shift[:, None, None]
    bound = first.bound + (UNITS[dtype] * first.value.abs() if needs.algorithm in BY_TORCH else 0)
    scaled = scale * first.value
    rounding = 2.0**-23 * (scaled.abs().amax() + shift.abs()) + SMALLEST
    return Expected((scaled + shift).relu(), scale.abs() * bound + rounding)


def sum_exactly(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Compute the convolution by plain matrix products: not cuDNN's, which may transform float32 (Winograd, FFT)."""
    return convolve(x, weight, stride, tf32=False, cudnn=False)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute matrix products of float32 in float32 within it, not in tf32, whatever the caller allows."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before
