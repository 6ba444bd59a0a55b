"""Calls of batch_norm_act's four native kernels on tensors.

All activations of a call are dense in one memory format, that of `x` (`_layout.dense` makes them so). Statistics and
parameters are float64 where the activations are, else float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hgfast import _native
from hgfast._native import DTYPE_CODES, exec_handle, layout_of
from hgfast.ops import _buffers
from hgfast.ops._batch_norm_checks import check_channels
from hgfast.ops._tickets import tickets
from hgfast.reference.batch_norm_act import Gradient, Running

if TYPE_CHECKING:
    from hgfast._library import Library

Tensor = torch.Tensor
NO_RUNNING = Running()


def stat_dtype(x: Tensor) -> torch.dtype:
    """dtype of the statistics and parameters of activations like x."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def as_stats(x: Tensor, values: dict[str, Tensor | None]) -> list[Any]:
    """Return the parameters and statistics of x's channels as the kernels take them.

    Raises:
        TypeError: a dtype that is neither x's nor that of its statistics.
        ValueError: not one number for each channel, or on another device.
    """
    channels, dtype, on_cpu = x.shape[1], stat_dtype(x), x.is_cpu
    found = []
    for name, value in values.items():
        if value is not None:
            if value.numel() != channels or not (value.is_cpu if on_cpu else value.device == x.device):
                check_channels(x, name, value)
            if value.dtype is not dtype or not value.is_contiguous():
                check_channels(x, name, value)
                value = value.detach().to(dtype).contiguous()
        found.append(value)
    return found


def _shape(x: Tensor) -> tuple[int, int, int, int, int]:
    n, c, h, w = x.shape
    layout = layout_of(x)
    assert layout is not None
    return DTYPE_CODES[x.dtype], layout, n, h * w, c


def _workspace(lib: Library, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Workspace and tickets of a kernel that sums over x's channels."""
    numbers, _, count = lib.batch_norm_sizes(*_shape(x))
    return torch.empty(numbers, dtype=stat_dtype(x), device=x.device), tickets(lib, x, count)


def empty_mask(lib: Library, x: Tensor) -> Tensor:
    """Room for the mask of ReLU over x: one bit per element."""
    return torch.empty(lib.batch_norm_sizes(*_shape(x))[1], dtype=torch.uint8, device=x.device)


def moves(x: Tensor, running: Running) -> bool:
    """Whether `stats` can move these: they are numbers as the kernels take them."""
    mean, var, batches, _ = running
    dtype, device = stat_dtype(x), x.device
    plain = all(v is not None and v.dtype is dtype and v.is_contiguous() and v.device == device for v in (mean, var))
    return plain and (batches is None or (batches.dtype is torch.int64 and batches.device == device))


def stats(lib: Library, x: Tensor, running: Running = NO_RUNNING) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of a dense x that is not empty.

    running: statistics that move; `moves` has said that they can.
    """
    mean = torch.empty(x.shape[1], dtype=stat_dtype(x), device=x.device)
    var = torch.empty_like(mean)
    workspace, counts = _workspace(lib, x)
    cumulative = running.momentum is None
    lib.batch_norm_stats(
        _native.ptr(x), _native.inout(running.mean), _native.inout(running.var), _native.inout(running.batches),
        _native.out(mean), _native.out(var), _native.out(workspace), _native.inout(counts), *_shape(x),
        running.momentum or 0.0, cumulative, exec_handle(x),
    )  # fmt: skip
    if running.mean is not None:  # autograd is to see that they are others now
        torch.autograd.graph.increment_version([value for value in running[:3] if value is not None])
    return mean, var


def apply(
    lib: Library,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    relu: bool,
    eps: float,
    out: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """relu(batch_norm(x) + residual) with given statistics; out may be x or residual, mask gets the bits of y > 0."""
    out = _buffers.empty_reused(x) if out is None else out
    place = out.data_ptr()
    over = [tensor is not None and tensor.data_ptr() == place for tensor in (x, residual)]
    written = _native.inout(out) if any(over) else _native.out(out)
    lib.batch_norm_apply(
        written if over[0] else _native.ptr(x), written if over[1] else _native.ptr(residual), _native.ptr(mean),
        _native.ptr(var), _native.ptr(weight), _native.ptr(bias), written, _native.out(mask), *_shape(x), eps, relu,
        exec_handle(x),
    )  # fmt: skip
    return out


def backward_reduce(lib: Library, gradient: Gradient, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute gradients of weight and bias; masked, if given, gets the gated gradient."""
    grad, grad2, x, residual, mask, mean, var, weight, bias, eps, gate = gradient
    weight_grad = torch.empty(x.shape[1], dtype=stat_dtype(x), device=x.device)
    bias_grad = torch.empty_like(weight_grad)
    workspace, counts = _workspace(lib, x)
    lib.batch_norm_backward_reduce(
        _native.ptr(grad), _native.ptr(grad2), _native.ptr(x), _native.ptr(residual), _native.ptr(mask),
        _native.ptr(mean), _native.ptr(var), _native.ptr(weight), _native.ptr(bias), _native.out(masked),
        _native.out(weight_grad), _native.out(bias_grad), _native.out(workspace), _native.inout(counts), *_shape(x),
        eps, gate, exec_handle(x),
    )  # fmt: skip
    return weight_grad, bias_grad


def backward_apply(
    lib: Library,
    gradient: Gradient,
    weight_grad: Tensor | None,
    bias_grad: Tensor | None,
    count: float,
    batch_statistics: bool,
    addend: Tensor | None = None,
) -> Tensor:
    """Compute the gradient of x, plus addend. count: elements of a channel over all processes."""
    grad, grad2, x, residual, mask, mean, var, weight, bias, eps, gate = gradient
    out = _buffers.empty_reused(x)
    lib.batch_norm_backward_apply(
        _native.ptr(grad), _native.ptr(grad2), _native.ptr(x), _native.ptr(residual), _native.ptr(mask),
        _native.ptr(mean), _native.ptr(var), _native.ptr(weight), _native.ptr(bias), _native.ptr(weight_grad),
        _native.ptr(bias_grad), _native.ptr(addend), _native.out(out), count, batch_statistics, *_shape(x), eps, gate,
        exec_handle(x),
    )  # fmt: skip
    return out
