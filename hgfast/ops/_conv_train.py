"""The convolutions of a training step, "same" padding, without autograd: what the fused blocks call."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve x (N, C, H, W) with weight (K, C, r, r): (N, K, ceil(H / stride), ceil(W / stride)), channels_last."""
    return torch.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, needs: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight and bias, as far as needs says."""
    padding = [weight.shape[-1] // 2] * 2
    return torch.ops.aten.convolution_backward(
        *(grad, x, weight, [weight.shape[0]], [stride] * 2, padding, [1, 1], False, [0, 0], 1, needs)
    )
