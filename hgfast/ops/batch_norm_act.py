"""batch_norm_act: BatchNorm, a residual sum and ReLU as one operation, with its gradient."""

from __future__ import annotations

import torch

from hgfast import _checks
from hgfast.ops import _batch_norm_ops
from hgfast.ops._batch_norm_checks import NAME, check_channels, check_x
from hgfast.ops._operands import fit
from hgfast.ops._registry import is_recorded
from hgfast.reference.batch_norm_act import Running, move_running

Tensor = torch.Tensor
LARGEST_MOMENTUM = 1e4  # which float16 holds


def batch_norm_act(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    residual: Tensor | None = None,
    relu: bool = True,
    *,
    recompute: bool = False,
) -> Tensor:
    """relu(batch_norm(x) + residual): `F.batch_norm`, a sum and `F.relu` in one pass (two if x is averaged).

    For the gradient it keeps x, the statistics and, where a residual makes it necessary, one bit per element of the
    result. The sums are taken in float32 (float64 for float64) in an order that depends on the shape alone.

    Args:
        x: (N, C, H, W), float32, float16, bfloat16 or float64; channels_last is the fast layout.
        weight, bias: (C,) or None, of x's dtype, or float32 next to a half type.
        running_mean, running_var: (C,) like weight, or None. With `training` they are moved by `momentum` towards the
            mean and the unbiased variance of x; otherwise x is normalised with them.
        training: use the statistics of x.
        momentum: share of the new statistics.
        eps: added to the variance.
        residual: like x, added before ReLU.
        relu: whether negative results become 0.
        recompute: keep the residual instead of the bits, and work the bits out again (for a residual that is kept
            anyway).

    Returns:
        Like x, in its memory format.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or device does not fit; one value per channel with `training`.
        NotImplementedError: a second derivative is asked for.
    """
    check(x, weight, bias, running_mean, running_var, residual)
    for name, value in (("training", training), ("relu", relu), ("recompute", recompute)):
        _checks.flag(NAME, name, value)
    if training and running_mean is not None and running_var is not None:
        _checks.written(NAME, "running_mean", running_mean)
        _checks.written(NAME, "running_var", running_var)
    momentum = _checks.number(NAME, "momentum", momentum, -LARGEST_MOMENTUM, LARGEST_MOMENTUM)
    eps = _checks.number(NAME, "eps", eps)
    if not training and (running_mean is None or running_var is None):
        raise ValueError(f"{NAME}: running_mean and running_var are needed where training is False")
    recompute = recompute or torch.jit.is_tracing()  # a trace is the same with and without gradient
    keep_mask = relu and residual is not None and not recompute and _wants_gradient(x, weight, bias, residual)
    recorded = is_recorded()
    if not training:
        apply = _batch_norm_ops.apply if recorded else _batch_norm_ops.Apply.apply
        return apply(x, running_mean, running_var, weight, bias, residual, relu, eps, keep_mask)[0]
    check_batch(x)
    running = Running() if running_mean is None else Running(running_mean, running_var, None, momentum)
    if not recorded:
        return _batch_norm_ops.Train.apply(running, x, weight, bias, residual, relu, eps, keep_mask)
    out, mean, var, _ = _batch_norm_ops.train(x, weight, bias, residual, relu, eps, keep_mask)
    move_running(running, mean, var, x.numel() // max(x.shape[1], 1))
    return out


def check_batch(x: Tensor) -> None:
    """More than one value per channel, as torch demands.

    Raises:
        ValueError: N * H * W is 1.
    """
    if x.shape[0] * x.shape[2] * x.shape[3] == 1:
        raise ValueError(f"{NAME}: expected more than 1 value per channel when training, got x of {tuple(x.shape)}")


def _wants_gradient(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def check(x: Tensor, weight: Tensor | None, bias: Tensor | None, *others: Tensor | None) -> None:
    """Raise unless the arguments of batch_norm_act fit together; others: running_mean, running_var, residual."""
    running_mean, running_var, residual = others
    check_x(x)
    channels = (("weight", weight), ("bias", bias), ("running_mean", running_mean), ("running_var", running_var))
    for name, value in channels:
        if value is not None:
            check_channels(x, name, value)
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{NAME}: running_mean and running_var must be given both or neither")
    if residual is not None:
        fit(NAME, "residual", residual, x.shape, ("x", x))
