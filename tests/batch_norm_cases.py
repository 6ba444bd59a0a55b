"""Inputs and the expression for tests of batch_norm_act."""

from __future__ import annotations

import torch
import torch.nn.functional as F

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
# (N, C, H, W): whole blocks of 16 and tails, one pixel or one channel, several chunks, a channel count above a chunk
SHAPES = [(2, 32, 6, 5), (1, 24, 7, 5), (3, 17, 9, 1), (7, 3, 1, 1), (4, 1, 3, 3), (2, 8, 33, 31), (1, 560, 2, 2)]
FORMATS = [torch.channels_last, torch.contiguous_format]
OPTIONS = [(False, False), (False, True), (True, False), (True, True)]  # residual, relu
EPS, MOMENTUM = 1e-5, 0.3


class Inputs:
    """Tensors of a case: x, residual, weight, bias, running statistics, incoming gradient."""

    def __init__(self, shape, dtype, memory_format, device, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def activation(scale=1.0, shift=0.0):
            values = torch.randn(shape, generator=generator) * scale + shift
            return values.to(dtype).contiguous(memory_format=memory_format).to(device)

        def channel(low, high):
            stat = torch.float64 if dtype == torch.float64 else torch.float32
            return (torch.rand(shape[1], generator=generator) * (high - low) + low).to(stat).to(device)

        self.x, self.residual, self.grad = activation(2.0, 0.5), activation(), activation()
        self.weight, self.bias = channel(0.5, 1.5), channel(-0.5, 0.5)
        self.running_mean, self.running_var = channel(-0.2, 0.2), channel(0.5, 1.5)

    def to(self, dtype):
        """A copy in another dtype (parameters stay float32 next to half types)."""
        other = object.__new__(Inputs)
        stat = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
        for name, value in vars(self).items():
            setattr(other, name, value.detach().clone().to(dtype if value.dim() == 4 else stat))
        return other


def expression(x, weight, bias, running_mean, running_var, training, momentum, eps, residual, relu):
    y = F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    y = y if residual is None else y + residual
    return F.relu(y) if relu else y


def run(function, inputs, training, with_residual, relu, **options):
    """Output, gradients and running statistics, by name."""
    leaves = {name: getattr(inputs, name).detach().clone().requires_grad_() for name in ("x", "weight", "bias")}
    if with_residual:
        leaves["residual"] = inputs.residual.detach().clone().requires_grad_()
    running = inputs.running_mean.clone(), inputs.running_var.clone()
    out = function(
        leaves["x"],
        leaves["weight"],
        leaves["bias"],
        *running,
        training,
        MOMENTUM,
        EPS,
        leaves.get("residual"),
        relu,
        **options,
    )
    out.backward(inputs.grad)
    results = {"out": out.detach(), "running_mean": running[0], "running_var": running[1]}
    return results | {name + "_grad": leaf.grad for name, leaf in leaves.items()}


def gated_expression(keep):
    """The expression with ReLU's decision taken from elsewhere: near 0 it hangs on the rounding."""

    def function(x, weight, bias, running_mean, running_var, training, momentum, eps, residual, relu):
        y = expression(x, weight, bias, running_mean, running_var, training, momentum, eps, residual, False)
        return torch.where(keep, y, 0) if relu else y

    return function
