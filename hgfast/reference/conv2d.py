"""Plain PyTorch twins of conv2d and of its gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

__all__ = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"]


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """Convolution with "same" padding.

    Args: as :func:`hgfast.ops.conv2d`.
    """
    return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)


def conv2d_input_grad(grad: Tensor, weight: Tensor, h: int, w: int, stride: int) -> Tensor:
    """Gradient of x (N, C, h, w) from that of the result."""
    size = (grad.shape[0], weight.shape[1], h, w)
    return conv2d_input(size, weight, grad, stride, weight.shape[-1] // 2)


def conv2d_weight_grad(grad: Tensor, x: Tensor, kernel: int, stride: int, channels_last: bool) -> Tensor:
    """Gradient of the weight (K, C, kernel, kernel) from that of the result, in the memory format asked for."""
    size = (grad.shape[1], x.shape[1], kernel, kernel)
    weight_grad = conv2d_weight(x, size, grad, stride, kernel // 2)
    return weight_grad.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
