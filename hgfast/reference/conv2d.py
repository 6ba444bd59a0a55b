"""Plain PyTorch twins of conv2d and of its gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

__all__ = ["conv2d", "conv2d_add", "conv2d_gradients", "conv2d_input_grad", "conv2d_weight_grad"]

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """Convolution with "same" padding.

    Args: as :func:`hgfast.ops.conv2d`.

    A result of one column is the first one of a convolution of stride 1 in that direction: oneDNN's in bfloat16 on AMX,
    of 3x3 and larger kernels, gives what memory held before (torch 2.13).
    """
    padding = weight.shape[-1] // 2
    if 1 < stride >= x.shape[-1] and x.dtype is torch.bfloat16 and x.device.type == "cpu":
        return F.conv2d(x, weight, bias, (stride, 1), padding)[..., :1]
    return F.conv2d(x, weight, bias, stride, padding)


def conv2d_add(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, addend: Tensor | None) -> Tensor:
    """conv2d plus addend, in channels_last."""
    y = conv2d(x, weight, bias, stride).contiguous(memory_format=torch.channels_last)
    return y if addend is None else y.add_(addend)


def conv2d_input_grad(grad: Tensor, weight: Tensor, h: int, w: int, stride: int) -> Tensor:
    """Compute the gradient of x (N, C, h, w) from that of the result."""
    size = (grad.shape[0], weight.shape[1], h, w)
    return conv2d_input(size, weight, grad, stride, weight.shape[-1] // 2)


def conv2d_weight_grad(grad: Tensor, x: Tensor, kernel: int, stride: int, channels_last: bool) -> Tensor:
    """Compute the weight's gradient (K, C, kernel, kernel) from the result's, in the memory format asked for."""
    weight = x.new_empty(1).expand(grad.shape[1], x.shape[1], kernel, kernel)  # only its shape counts
    weight_grad = conv2d_gradients(grad, x, weight, stride, (False, True, False))[1]
    assert weight_grad is not None
    return weight_grad.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def conv2d_gradients(grad: Tensor, x: Tensor, weight: Tensor, stride: int, needs: tuple[bool, bool, bool]) -> Gradients:
    """Compute gradients of x, weight and bias by ATen, as far as needs says.

    A 1x1 convolution reads every stride-th pixel: on the CPU those are taken first, for the weight gradient that oneDNN
    makes of all pixels (AVX2, float32, channels_last, 2 to 7 channels; torch 2.13) is written beyond its end.
    """
    if not (needs[1] and stride > 1 and weight.shape[-1] == 1 and x.device.type == "cpu"):
        return _aten_gradients(grad, x, weight, stride, needs)
    x_grad = _aten_gradients(grad, x, weight, stride, (True, False, False))[0] if needs[0] else None
    rest = _aten_gradients(grad, x[:, :, ::stride, ::stride], weight, 1, (False, True, needs[2]))
    return x_grad, *rest[1:]


def _aten_gradients(grad: Tensor, x: Tensor, weight: Tensor, stride: int, needs: tuple[bool, bool, bool]) -> Gradients:
    """Make a stride beyond the map's size, which reads one row or column, that size.

    oneDNN's weight gradient in bfloat16 is what memory held before where the stride is wider than x (torch 2.13).
    """
    padding = [weight.shape[-1] // 2] * 2
    strides = [1 if stride == 1 else min(stride, size) for size in x.shape[2:]]
    return torch.ops.aten.convolution_backward(
        *(grad, x, weight, [weight.shape[0]], strides, padding, [1, 1], False, [0, 0], 1, needs)
    )
