"""What the operators of BatchNorm take: activations like x, one number for each channel, ReLU's mask and gate."""

from __future__ import annotations

from typing import Any

import torch

from hgfast import _checks
from hgfast.ops._operands import fit

Tensor = torch.Tensor
NAME = "batch_norm_act"
GATE_NONE, GATE_MASK, GATE_RECOMPUTE = 0, 1, 2  # csrc/common/batch_norm_act.h: ReluGate


def check_x(x: Tensor) -> None:
    """Activations (N, C, H, W).

    Raises:
        TypeError, ValueError: they are none.
    """
    _checks.tensor(NAME, "x", x, ndim=4)


def check_stats(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    num_batches_tracked: Tensor | None = None,
    momentum: float | None = None,
) -> None:
    """Check arguments of batch_norm_stats."""
    running = {"running_mean": running_mean, "running_var": running_var}
    _check_all(x, {}, running)
    for name, value in running.items():
        if value is not None:
            _checks.written(NAME, name, value)
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{NAME}: running_mean and running_var must be given both or neither")
    if num_batches_tracked is not None:
        if running_mean is None:
            raise ValueError(f"{NAME}: num_batches_tracked counts for running_mean and running_var; they are missing")
        fit(NAME, "num_batches_tracked", num_batches_tracked, (), ("x", x), (torch.int64,), "a number of batches")
    elif running_mean is not None and momentum is None:
        raise ValueError(f"{NAME}: momentum is needed, or num_batches_tracked for the mean over all batches")


def check_channels(x: Tensor, name: str, value: Tensor) -> None:
    """Require a parameter or statistic of x's channels: (C,), of x's dtype, or float32 beside a half type.

    Raises:
        TypeError, ValueError: it is none.
    """
    allowed = (x.dtype,) if x.dtype in (torch.float32, torch.float64) else (x.dtype, torch.float32)
    fit(NAME, name, value, x.shape[1:2], ("x", x), allowed, "one number for each channel of x")


def _check_all(x: Tensor, maps: dict[str, Tensor | None], channels: dict[str, Tensor | None]) -> None:
    check_x(x)
    for name, value in maps.items():
        if value is not None:
            fit(NAME, name, value, x.shape, ("x", x))
    for name, value in channels.items():
        if value is not None:
            check_channels(x, name, value)


def check_apply(x: Tensor, mean: Tensor, var: Tensor, *rest: Any) -> None:
    """Check arguments of batch_norm_act_apply."""
    weight, bias, residual, *_ = rest
    _check_all(x, {"residual": residual}, {"mean": mean, "var": var, "weight": weight, "bias": bias})


def check_train(x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, *rest: Any) -> None:
    """Check arguments of batch_norm_act_train."""
    _check_all(x, {"residual": residual}, {"weight": weight, "bias": bias})


def check_reduce(grad: Tensor, grad2: Tensor | None, x: Tensor, residual: Tensor | None, *rest: Any) -> None:
    """Check arguments of batch_norm_backward_reduce."""
    mask, mean, var, weight, bias, _, gate, _ = rest
    _check_all(
        x,
        {"grad": grad, "grad2": grad2, "residual": residual},
        {"mean": mean, "var": var, "weight": weight, "bias": bias},
    )
    if gate not in (GATE_NONE, GATE_RECOMPUTE) and (gate != GATE_MASK or mask is None):
        raise ValueError(f"{NAME}: gate must be 0, 2, or with a mask 1; got {gate}")
    if mask is not None:
        why = f"2 bytes for 16 values of x {tuple(x.shape)}"
        fit(NAME, "mask", mask, (mask_bytes(x),), ("x", x), (torch.uint8,), why)


def check_backward(grad: Tensor, grad2: Tensor | None, x: Tensor, *rest: Any) -> None:
    """Check arguments of batch_norm_backward_apply."""
    *common, weight_grad, bias_grad, addend, _, batch_statistics = rest
    check_reduce(grad, grad2, x, *common, False)
    _check_all(x, {"addend": addend}, {"weight_grad": weight_grad, "bias_grad": bias_grad})
    if batch_statistics and (weight_grad is None or bias_grad is None):
        raise ValueError(f"{NAME}: weight_grad and bias_grad are needed with batch_statistics")


def mask_bytes(x: Tensor) -> Any:
    """Size of the mask of ReLU over x, as the kernels have it: whole 16 bits for each run of values."""
    n, c, h, w = x.shape
    nhwc = x.is_contiguous(memory_format=torch.channels_last) or not x.is_contiguous()
    rows, run = (n * h * w, c) if nhwc else (n * c, h * w)
    return rows * ((run + 15) // 16 * 2)
