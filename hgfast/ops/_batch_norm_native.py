"""Calls of batch_norm_act's four native kernels on tensors; every output can be a given tensor, so blocks reuse memory.

All activations of a call are dense in one memory format, that of `x` (`_layout.dense` makes them so). Statistics and
parameters are float64 where the activations are, else float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch

from hgfast import _native
from hgfast._native import DTYPE_CODES, exec_handle, layout_of
from hgfast.ops import _buffers
from hgfast.ops._batch_norm_checks import check_channels
from hgfast.ops._tickets import tickets
from hgfast.reference.batch_norm_act import Gradient, Running

Tensor = torch.Tensor
NO_RUNNING = Running()


def stat_dtype(x: Tensor) -> torch.dtype:
    """dtype of the statistics and parameters of activations like x."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def as_stats(x: Tensor, values: dict[str, Tensor | None]) -> list[Any]:
    """Parameters and statistics of x's channels as the kernels take them.

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


def addresses(reads: Sequence[Tensor | None], writes: Sequence[Tensor | None]) -> list[int]:
    """Addresses of reads, then writes; memory that is read and written has the same address in both."""
    places = {t.data_ptr() for t in writes if t is not None}
    both = [t for t in reads if t is not None and t.data_ptr() in places]
    if not both:
        return [*map(_native.ptr, reads), *map(_native.out, writes)]
    changed = {t.data_ptr(): _native.inout(t) for t in both}
    read = [0 if t is None else changed.get(t.data_ptr()) or _native.ptr(t) for t in reads]
    return read + [0 if t is None else changed.get(t.data_ptr()) or _native.out(t) for t in writes]


def _shape(x: Tensor) -> tuple[int, int, int, int, int]:
    n, c, h, w = x.shape
    layout = layout_of(x)
    assert layout is not None
    return DTYPE_CODES[x.dtype], layout, n, h * w, c


def _workspace(lib: ModuleType, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Workspace and tickets of a kernel that sums over x's channels."""
    numbers, _, count = lib.batch_norm_sizes(*_shape(x))
    return torch.empty(numbers, dtype=stat_dtype(x), device=x.device), tickets(lib, x, count)


def empty_mask(lib: ModuleType, x: Tensor) -> Tensor:
    """Room for the mask of ReLU over x: one bit per element."""
    return torch.empty(lib.batch_norm_sizes(*_shape(x))[1], dtype=torch.uint8, device=x.device)


def moves(x: Tensor, running: Running) -> bool:
    """Whether `stats` can move these: they are numbers as the kernels take them."""
    mean, var, batches, _ = running
    dtype, device = stat_dtype(x), x.device
    plain = all(v is not None and v.dtype is dtype and v.is_contiguous() and v.device == device for v in (mean, var))
    return plain and (batches is None or (batches.dtype is torch.int64 and batches.device == device))


def stats(lib: ModuleType, x: Tensor, running: Running = NO_RUNNING) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of a dense x that is not empty.

    running: statistics that move; `moves` has said that they can.
    """
    mean = torch.empty(x.shape[1], dtype=stat_dtype(x), device=x.device)
    var = torch.empty_like(mean)
    workspace, counts = _workspace(lib, x)
    changed, written = map(_native.inout, running[:3]), map(_native.out, (mean, var, workspace))
    share = (0.0, True) if running.momentum is None else (running.momentum, False)
    lib.batch_norm_stats(_native.ptr(x), *changed, *written, _native.inout(counts), *_shape(x), *share, exec_handle(x))
    if running.mean is not None:  # autograd is to see that they are others now
        torch.autograd.graph.increment_version([value for value in running[:3] if value is not None])
    return mean, var


def apply(
    lib: ModuleType,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    relu: bool,
    eps: float,
    *,
    out: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """relu(batch_norm(x) + residual) with given statistics; out may be x or residual, mask gets the bits of y > 0."""
    out = _buffers.empty_like(x) if out is None else out
    where = addresses([x, residual, mean, var, weight, bias], [out, mask])
    lib.batch_norm_apply(*where, *_shape(x), eps, relu, exec_handle(x))
    return out


def backward_reduce(lib: ModuleType, gradient: Gradient, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias; masked, if given, gets the gated gradient and may be grad or grad2 itself."""
    x = gradient.x
    weight_grad = torch.empty(x.shape[1], dtype=stat_dtype(x), device=x.device)
    bias_grad = torch.empty_like(weight_grad)
    workspace, counts = _workspace(lib, x)
    where = addresses(gradient[:9], [masked, weight_grad, bias_grad, workspace])
    where.append(_native.inout(counts))
    lib.batch_norm_backward_reduce(*where, *_shape(x), gradient.eps, gradient.gate, exec_handle(x))
    return weight_grad, bias_grad


def backward_apply(
    lib: ModuleType,
    gradient: Gradient,
    weight_grad: Tensor | None,
    bias_grad: Tensor | None,
    count: float,
    batch_statistics: bool,
    addend: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Gradient of x, plus addend; out may be any tensor read. count: elements of a channel over all processes."""
    x = gradient.x
    out = _buffers.empty_like(x) if out is None else out
    where = addresses((*gradient[:9], weight_grad, bias_grad, addend), [out])
    lib.batch_norm_backward_apply(
        *where, count, batch_statistics, *_shape(x), gradient.eps, gradient.gate, exec_handle(x)
    )
    return out
