"""Which kernel an operator that is called by itself has on CUDA: tried, and timed, at the first call of its sizes.

As a frozen network's are (hgfast.frozen.one_call), with the same table of the card, so that the next process does
neither again. What is known of a card by its table counts in a capture, too, where nothing is tried.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from hgfast.ops import _bottleneck_native, _conv_native
from hgfast.ops._bottleneck_native import BottleneckNeeds, BottleneckSizes
from hgfast.ops._conv_native import ConvNeeds, ConvSizes

X, RESIDUAL, LARGE, OUTPUT = range(4)  # the values of a call

Found = TypeVar("Found", ConvNeeds, BottleneckNeeds)
_convs: dict[tuple[int, ConvSizes, bool, bool], ConvNeeds | None] = {}
_blocks: dict[tuple[int, BottleneckSizes], BottleneckNeeds | None] = {}


def conv(lib: Any, x: Tensor, sizes: ConvSizes, with_residual: bool, relu: bool, threads: int) -> ConvNeeds | None:
    """The kernel of a convolution of x; None where torch's operators are right, or faster, and no kernel is."""
    from hgfast.frozen.graph import ConvCall
    from hgfast.frozen.one_call import are_chosen, choose
    from hgfast.frozen.torch_step import BY_TORCH

    if not are_chosen(lib, x.device):
        return _conv_native.query(lib, sizes, threads)
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
    needs, is_known = choose(lib, call, shapes, sizes.n, sizes.dtype, x.device, sizes.exact)
    assert isinstance(needs, ConvNeeds)
    return _kept(_convs, key, None if needs.algorithm in BY_TORCH else needs, is_known)


def block(lib: Any, x: Tensor, sizes: BottleneckSizes, threads: int) -> BottleneckNeeds | None:
    """The kernel of a whole bottleneck on x; None where there is none that is right."""
    from hgfast.frozen.graph import BottleneckCall, ConvCall
    from hgfast.frozen.one_call import are_chosen, choose

    if not are_chosen(lib, x.device):
        return _bottleneck_native.query(lib, sizes, threads)
    key = x.get_device(), sizes
    if key in _blocks:
        return _blocks[key]
    c, m, large = sizes.c, sizes.m, bool(sizes.out_h)
    weights = _sized(m, c, 1, 1), _sized(m, m, 3, 3), _sized(c, m, 1, 1)
    inner = tuple(ConvCall("", 0, 0, weight, _sized(len(weight))) for weight in weights)
    upsample_to = LARGE if large else None
    call = BottleneckCall("bottleneck", OUTPUT, X, _sized(c), _sized(c), inner, upsample_to)  # type: ignore[arg-type]
    shapes = {X: (c, sizes.h, sizes.w), OUTPUT: (c, *sizes.output)} | ({LARGE: (c, *sizes.output)} if large else {})
    needs, is_known = choose(lib, call, shapes, sizes.n, sizes.dtype, x.device, False)
    assert needs is None or isinstance(needs, BottleneckNeeds)
    return _kept(_blocks, key, needs, is_known)


def _sized(*shape: int) -> Tensor:
    """In the place of weights: kernels are tried with numbers of their own."""
    return torch.empty(shape, device="meta")


def _kept(known: dict[Any, Found | None], key: Any, needs: Found | None, is_known: bool) -> Found | None:
    if is_known:
        known[key] = needs
    return needs
