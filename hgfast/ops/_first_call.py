"""Which kernel an operator that is called by itself has on CUDA: tried, and timed, at the first call of its sizes.

As a frozen network's are (hgfast.frozen.one_call), with the same table of the card, so that the next process does
neither again; then held against torch's operators (hgfast.ops._ways). What is known of a card by its table counts in a
capture, too, where nothing is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from hgfast.ops import _bottleneck_native, _conv_native
from hgfast.ops._bottleneck_native import BottleneckNeeds, BottleneckShape
from hgfast.ops._conv_native import ConvNeeds, ConvShape
from hgfast.ops._ways import KERNEL, Ways, fastest

if TYPE_CHECKING:
    from hgfast._library import Library

X, RESIDUAL, LARGE, OUTPUT = range(4)  # the values of a call

Needs = TypeVar("Needs", ConvNeeds, BottleneckNeeds)
WaysWith = Callable[["Needs | None"], Ways]  # the ways of an operator, with a kernel for the one that has it
Found = tuple["Needs | None", str]  # the kernel, and the way
_convs: dict[tuple[int, ConvShape, bool, bool], Found[ConvNeeds]] = {}
_blocks: dict[tuple[int, BottleneckShape], Found[BottleneckNeeds]] = {}


def conv(
    lib: Library, x: Tensor, sizes: ConvShape, with_residual: bool, relu: bool, threads: int, ways: WaysWith[ConvNeeds]
) -> Found[ConvNeeds]:
    """Return the kernel of a convolution of x, None where none is right, and the way that the operator goes."""
    from hgfast.frozen.graph import ConvCall
    from hgfast.frozen.one_call import are_chosen, choose
    from hgfast.frozen.torch_step import BY_TORCH

    if not are_chosen(lib, x.device):
        return _conv_native.query(lib, sizes, threads), KERNEL
    key = x.get_device(), sizes, with_residual, relu
    if key in _convs:
        return _convs[key]
    (p, q), large = sizes.result, bool(sizes.out_h)
    weight, bias = _sized(sizes.k, sizes.c, sizes.kernel, sizes.kernel), _sized(sizes.k)
    residual, upsample_to = RESIDUAL if with_residual else None, LARGE if large else None
    call = ConvCall("conv_bias_act", OUTPUT, X, weight, bias, sizes.stride, relu, residual, upsample_to)
    shapes = {X: (sizes.c, sizes.h, sizes.w), OUTPUT: (sizes.k, *sizes.output)}
    shapes |= {RESIDUAL: (sizes.k, p, q)} if with_residual else {}
    shapes |= {LARGE: (sizes.k, *sizes.output)} if large else {}
    chosen = choose(lib, call, shapes, sizes.n, sizes.dtype, x.device, sizes.exact)
    assert isinstance(chosen.needs, ConvNeeds)
    needs = None if chosen.needs.algorithm in BY_TORCH else chosen.needs
    found = needs, fastest(lib, x.device, chosen.name, ways(needs))
    if chosen.is_known:
        _convs[key] = found
    return found


def block(
    lib: Library, x: Tensor, sizes: BottleneckShape, threads: int, ways: WaysWith[BottleneckNeeds]
) -> Found[BottleneckNeeds]:
    """Return the kernel of a whole bottleneck on x, None where none is right, and the way that the operator goes."""
    from hgfast.frozen.graph import BottleneckCall, ConvCall
    from hgfast.frozen.one_call import are_chosen, choose

    if not are_chosen(lib, x.device):
        return _bottleneck_native.query(lib, sizes, threads), KERNEL
    key = x.get_device(), sizes
    if key in _blocks:
        return _blocks[key]
    c, m, large = sizes.c, sizes.m, bool(sizes.out_h)
    weights = _sized(m, c, 1, 1), _sized(m, m, 3, 3), _sized(c, m, 1, 1)
    inner = tuple(ConvCall("", 0, 0, weight, _sized(len(weight))) for weight in weights)
    upsample_to = LARGE if large else None
    call = BottleneckCall("bottleneck", OUTPUT, X, _sized(c), _sized(c), inner, upsample_to)  # type: ignore[arg-type]
    shapes = {X: (c, sizes.h, sizes.w), OUTPUT: (c, *sizes.output)} | ({LARGE: (c, *sizes.output)} if large else {})
    chosen = choose(lib, call, shapes, sizes.n, sizes.dtype, x.device, False)
    assert chosen.needs is None or isinstance(chosen.needs, BottleneckNeeds)
    found = chosen.needs, fastest(lib, x.device, chosen.name, ways(chosen.needs))
    if chosen.is_known:
        _blocks[key] = found
    return found


def _sized(*shape: int) -> Tensor:
    """Return a tensor in the place of weights: kernels are tried with numbers of their own."""
    return torch.empty(shape, device="meta")
