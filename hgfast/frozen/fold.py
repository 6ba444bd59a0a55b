"""BatchNorm folded into convolutions, in float64, and which convolutions the kernels take."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hgfast.graph.ops import Conv, Deconv, Norm
from hgfast.ops._conv_checks import is_same

Find = Callable[[str], Tensor]
"""Gives a parameter or buffer by its path."""

KERNELS = (1, 3, 7)  # sides of the kernels: csrc/common/conv.h


def is_ours(conv: Conv, weight: Tensor) -> bool:
    """Whether the kernels of inference take a convolution: one that `is_same`, with a kernel of their sizes."""
    sides = tuple(weight.shape[2:])
    same = is_same(sides, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    return same and sides[0] in KERNELS


def doubles_size(deconv: Deconv, weight: Tensor) -> bool:
    """Whether a transposed convolution gives 2H x 2W pixels, by a square kernel without groups or dilation."""
    side, padding, more = weight.shape[-1], deconv.padding[0], deconv.output_padding[0]
    even = all(a == b for a, b in (deconv.stride, deconv.padding, deconv.output_padding, weight.shape[2:]))
    plain = deconv.groups == 1 and deconv.dilation == (1, 1) and deconv.stride == (2, 2)
    return even and plain and side + more - 2 * padding == 2


def weight_and_bias(op: Conv | Deconv, find: Find, channels: int) -> tuple[Tensor, Tensor]:
    """Return a convolution's weight and bias, float64; the bias is `channels` zeros where there is none."""
    weight = find(op.weight).double()
    return weight, weight.new_zeros(channels) if op.bias is None else find(op.bias).double()


def batch_norm_affine(norm: Norm, find: Find) -> tuple[Tensor, Tensor]:
    """scale and shift, float64 (C,), with bn(x) = scale * x + shift in evaluation; norm.uses_statistics."""
    assert norm.mean is not None and norm.var is not None
    scale = torch.rsqrt(find(norm.var).double() + norm.eps)
    if norm.weight is not None:
        scale = scale * find(norm.weight).double()
    shift = -find(norm.mean).double() * scale
    return scale, shift if norm.bias is None else shift + find(norm.bias).double()
