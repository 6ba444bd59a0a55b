"""Reference of relu(batch_norm(x) + residual) and of its gradient, written from the formulas.

Half types are computed in float32. ReLU's mask is packed as the kernels pack it: one bit per element, least significant
first; a row is a pixel's channels (channels_last) or a channel's pixels (contiguous) and starts a new 16-bit word.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

Tensor = torch.Tensor


def batch_norm_act(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    relu: bool,
    eps: float,
) -> Tensor:
    """Compute the expression by torch's operators in x's dtype; by x's own statistics where mean and var are None."""
    y = F.batch_norm(x, mean, var, weight, bias, mean is None, 0.0, eps)
    y = y if residual is None else y + residual
    return F.relu(y) if relu else y


class Running(NamedTuple):
    """Running statistics (C,) that a batch moves.

    batches: how many there have been, () of int64; counts this one. momentum: share of this batch's statistics; None:
    1 / batches, so that they are the mean over all of them.
    """

    mean: Tensor | None = None
    var: Tensor | None = None
    batches: Tensor | None = None
    momentum: float | None = None


def batch_norm_stats(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of x (N, C, H, W)."""
    wide = _wide(x)
    mean = wide.mean((0, 2, 3))
    return mean, (wide - _per_channel(mean, wide)).square().mean((0, 2, 3))


def stats_that_move(x: Tensor, *running: Any) -> tuple[Tensor, Tensor]:
    """Mean and biased variance; running: fields of :class:`Running`, which move if there are any."""
    mean, var = batch_norm_stats(x)
    move_running(Running(*running), mean, var, x.numel() // max(x.shape[1], 1))
    return mean, var


def move_running(running: Running, mean: Tensor, var: Tensor, count: int | Tensor) -> None:
    """Move running statistics towards a batch's mean and biased variance of `count` values (if any).

    A count on the device, which the host does not know, is of more than one value. Nothing waits for the device.
    """
    if running.mean is None or running.var is None:
        return
    with torch.no_grad():
        if running.batches is not None:
            running.batches.add_(1)
        momentum: float | Tensor | None = running.momentum
        if momentum is None:
            assert running.batches is not None
            momentum = running.batches.double().reciprocal()
        if isinstance(count, Tensor):
            unbiased: float | Tensor = count / (count - 1)
        elif count == 0:
            return
        else:
            unbiased = count / max(count - 1, 1)
        running.mean.mul_(1 - momentum).add_(mean * momentum)
        running.var.mul_(1 - momentum).add_(var * (momentum * unbiased))


def batch_norm_act_apply(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    relu: bool,
    eps: float,
    keep_mask: bool,
) -> tuple[Tensor, Tensor]:
    """(out, packed mask or an empty tensor) with given statistics."""
    y = _normalised(x, mean, var, eps)
    y = y if weight is None else y * _per_channel(weight, y)
    y = y if bias is None else y + _per_channel(bias, y)
    y = y if residual is None else y + residual
    mask = pack_mask(~(y <= 0), _is_nhwc(x)) if keep_mask else x.new_empty(0, dtype=torch.uint8)
    out = torch.empty_like(x, memory_format=torch.channels_last if _is_nhwc(x) else torch.contiguous_format)
    return out.copy_(F.relu(y) if relu else y), mask


def batch_norm_act_train(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, relu: bool, eps: float, mask: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(out, mean, var, packed mask or an empty tensor) with the statistics of x."""
    mean, var = batch_norm_stats(x)
    out, bits = batch_norm_act_apply(x, mean, var, weight, bias, residual, relu, eps, mask)
    return out, mean, var, bits


class Gradient(NamedTuple):
    """What both backward functions begin with: (grad + grad2) behind ReLU's gate, and what the forward was given."""

    grad: Tensor
    grad2: Tensor | None
    x: Tensor
    residual: Tensor | None
    mask: Tensor | None
    mean: Tensor
    var: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float
    gate: int


def batch_norm_backward_reduce(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(g = gated gradient or an empty tensor, sum of g * normalised x, sum of g) over each channel.

    Args:
        arguments: those of :class:`Gradient`, then want_masked.
    """
    *common, want_masked = arguments
    gradient = Gradient(*common)
    x, g = gradient.x, _gated(gradient)
    weight_grad = (g * _normalised(x, gradient.mean, gradient.var, gradient.eps)).sum((0, 2, 3))
    return torch.empty_like(x).copy_(g) if want_masked else x.new_empty(0), weight_grad, g.sum((0, 2, 3))


def batch_norm_backward_apply(*arguments: Any) -> Tensor:
    """Compute the gradient of x, from the sums over all `count` elements of each channel, plus addend.

    Args:
        arguments: those of :class:`Gradient`, then weight_grad, bias_grad, addend, count and batch_statistics.
    """
    *common, weight_grad, bias_grad, addend, count, batch_statistics = arguments
    gradient = Gradient(*common)
    x, var, g = gradient.x, gradient.var, _gated(gradient)
    if batch_statistics:
        slope, offset = _per_channel(weight_grad / count, g), _per_channel(bias_grad / count, g)
        g = g - offset - _normalised(x, gradient.mean, var, gradient.eps) * slope
    scale = (var.to(g.dtype) + gradient.eps).rsqrt() * (1 if gradient.weight is None else gradient.weight)
    g = g * _per_channel(scale, g)
    return torch.empty_like(x).copy_(g if addend is None else g + addend)


def pack_mask(positive: Tensor, nhwc: bool) -> Tensor:
    """Booleans (N, C, H, W) as the kernels' bits (uint8)."""
    n, c, h, w = positive.shape
    rows = positive.permute(0, 2, 3, 1).reshape(n * h * w, c) if nhwc else positive.reshape(n * c, h * w)
    padded = F.pad(rows, (0, -rows.shape[1] % 16)).reshape(-1, 8).to(torch.uint8)
    return (padded << torch.arange(8, dtype=torch.uint8, device=padded.device)).sum(1, dtype=torch.uint8)


def unpack_mask(mask: Tensor, shape: torch.Size, nhwc: bool) -> Tensor:
    """Return the kernels' bits as booleans of `shape` (N, C, H, W)."""
    n, c, h, w = shape
    run = c if nhwc else h * w
    bits = (mask[:, None] >> torch.arange(8, dtype=torch.uint8, device=mask.device)) & 1
    rows = bits.bool().reshape(-1, (run + 15) // 16 * 16)[:, :run]
    return rows.reshape(n, h, w, c).permute(0, 3, 1, 2) if nhwc else rows.reshape(n, c, h, w)


def _gated(gradient: Gradient) -> Tensor:
    grad, grad2, x, residual, mask, mean, var, weight, bias, eps, gate = gradient
    g = _wide(grad) if grad2 is None else _wide(grad) + grad2
    if gate == 0:  # no ReLU
        return g
    if gate == 2:  # recomputed
        _, mask = batch_norm_act_apply(x, mean, var, weight, bias, residual, True, eps, True)
    assert mask is not None
    return torch.where(unpack_mask(mask, x.shape, _is_nhwc(x)), g, 0)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype)[:, None, None]


def _normalised(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    wide = _wide(x)
    return (wide - _per_channel(mean, wide)) * _per_channel((var.to(wide.dtype) + eps).rsqrt(), wide)


def _is_nhwc(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) or not x.is_contiguous()
