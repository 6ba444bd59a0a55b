"""Weights of convolutions in int8, made from the graph's float32 weights and the codes of what is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgfast import _native
from hgfast.frozen.codes import Codes
from hgfast.frozen.graph import ConvCall
from hgfast.ops._conv_native import ConvNeeds, ConvShape, NoKernel

if TYPE_CHECKING:
    from hgfast._library import Library

LARGEST_WEIGHT = 127


@dataclass
class CodedWeights:
    """packed: uint8, as the library packs it; scale and bias float32 (K,): a result is sum * scale + bias."""

    packed: Tensor
    scale: Tensor
    bias: Tensor


def query(lib: Library, sizes: ConvShape, threads: int) -> ConvNeeds:
    """Return what the library needs for a convolution of codes; its numbers are of sizes.dtype.

    Raises:
        NoKernel: it has no kernel for these sizes.
    """
    try:
        packed, workspace, kernel, _ = lib.conv_int8_query(sizes.native(lib), threads)
    except ValueError as error:
        raise NoKernel(str(error)) from None
    return ConvNeeds(0, packed, workspace, 0, kernel)


def multiplies_int8(lib: Library) -> bool:
    """Whether the processor has instructions for products of 8 bits."""
    return bool(lib.conv_int8_query(ConvShape(1, 1, 1, 4, 1, 1, 1).native(lib), 1)[3])


def rounded_weights(call: ConvCall, x: Codes, extra: Codes | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the weights (K, C, r, r), those of the extra input (K, C') or None, both int8, and scales (K,), float64.

    A result is x.scale * scales * (sums of products of codes less their zero and weights). As there is one sum for both
    inputs, the weights of the extra one also stand for the ratio of the two inputs' scales.
    """
    weight = call.weight.double()
    more = None if call.extra is None or extra is None else call.extra.weight.double() * (extra.scale / x.scale)
    largest = weight.abs().flatten(1).amax(1)
    if more is not None:
        largest = torch.maximum(largest, more.abs().amax(1))
    scales = torch.where(largest > 0, largest / LARGEST_WEIGHT, 1.0)
    rounded = (weight / scales[:, None, None, None]).round().to(torch.int8)
    return rounded, None if more is None else (more / scales[:, None]).round().to(torch.int8), scales


def coded_weights(lib: Library, call: ConvCall, sizes: ConvShape, x: Codes, extra: Codes | None) -> CodedWeights:
    """Pack the weights of a call.

    Args:
        lib: the library.
        call: a convolution of a graph.
        sizes: its sizes.
        x, extra: the codes of its inputs.
    """
    weight, more, scales = rounded_weights(call, x, extra)
    zeros = x.zero * weight.flatten(1).sum(1, dtype=torch.int64)
    if more is not None and extra is not None:
        zeros = zeros + extra.zero * more.sum(1, dtype=torch.int64)
    scales = scales * x.scale
    bias = call.bias.double() - scales * zeros
    threads = torch.get_num_threads()
    packed = torch.empty(query(lib, sizes, threads).packed_bytes, dtype=torch.uint8)
    more = None if more is None else more.contiguous()
    shape = sizes.native(lib)
    lib.conv_int8_pack(shape, _native.ptr(weight.contiguous()), _native.ptr(more), _native.out(packed), threads)
    return CodedWeights(packed, scales.float(), bias.float())
