"""BatchNorm folded into convolutions, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Folded:
    """A convolution with bias, float64: weight (K, C, r, r), bias (K,), its stride, and whether a ReLU follows."""

    weight: Tensor
    bias: Tensor
    stride: int
    relu: bool = False


def batch_norm_affine(bn: Any) -> tuple[Tensor, Tensor]:
    """scale and shift, float64 (C,), with bn(x) = scale * x + shift in evaluation.

    Raises:
        ValueError: bn keeps no running statistics, or is another kind of norm.
    """
    if not hasattr(bn, "running_mean"):
        raise ValueError(f"freeze: only BatchNorm can be folded, got {type(bn).__name__}")
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("freeze: a BatchNorm without running statistics cannot be folded")
    mean, var = bn.running_mean.double(), bn.running_var.double()
    scale = torch.rsqrt(var + bn.eps)
    if bn.weight is not None:
        scale = scale * bn.weight.detach().double()
    shift = -mean * scale
    return scale, shift if bn.bias is None else shift + bn.bias.detach().double()


def fold(conv: nn.Conv2d, bn: nn.Module | None = None, relu: bool = False) -> Folded:
    """The convolution with the BatchNorm behind it.

    Raises:
        ValueError: a convolution that the kernels do not know ("same" padding, square odd kernel, no groups).
    """
    kernel, stride = conv.kernel_size, conv.stride
    same = kernel[0] == kernel[1] and kernel[0] % 2 == 1 and tuple(conv.padding) == (kernel[0] // 2,) * 2
    if not same or stride[0] != stride[1] or conv.groups != 1 or tuple(conv.dilation) != (1, 1):
        raise ValueError(f"freeze: only ungrouped convolutions with odd square kernels and same padding, got {conv}")
    weight = conv.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().double()
    if bn is not None:
        scale, shift = batch_norm_affine(bn)
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    return Folded(weight, bias, stride[0], relu)


def _norm_of(module: Any, name: str) -> nn.Module | None:
    """BatchNorm of a ConvModule-like: `bn`, or what MMPose's `norm` property gives."""
    if getattr(module, "with_norm", True) is False:
        return None
    return getattr(module, name, None) or getattr(module, "norm", None)


def fold_module(module: Any) -> Folded:
    """A bare Conv2d, or a ConvModule: hgfast's (`conv`, `bn`, `relu`), princeton-vl's `Conv`, or mmcv's."""
    if isinstance(module, nn.Conv2d):
        return fold(module)
    relu = module.with_activation if hasattr(module, "with_activation") else module.relu
    return fold(module.conv, _norm_of(module, "bn"), relu is not None and relu is not False)
