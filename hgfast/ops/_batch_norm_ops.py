"""The registered operators behind batch_norm_act: forward in training and with given statistics, and their gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hgfast import reference
from hgfast.ops import _batch_norm_checks as checks
from hgfast.ops import _batch_norm_native, _buffers
from hgfast.ops._batch_norm_checks import GATE_MASK, GATE_NONE, GATE_RECOMPUTE, NAME
from hgfast.ops._batch_norm_native import Gradient, as_stats
from hgfast.ops._layout import dense, dense_like, empty_dense
from hgfast.ops._registry import autograd_function, below_autograd, define
from hgfast.reference.batch_norm_act import Running, move_running, stats_that_move

if TYPE_CHECKING:
    from hgfast._library import Library

Tensor = torch.Tensor
_Optional = Tensor | None


def _no_mask(x: Tensor) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=x.device)


def _kernel_stats(lib: Library, x: Tensor, *fields: Any) -> tuple[Tensor, Tensor]:
    if x.numel() == 0:
        return stats_that_move(x, *fields)
    x, running = dense(x, x), Running(*fields)
    if running.mean is None or _batch_norm_native.moves(x, running):
        return _batch_norm_native.stats(lib, x, running)
    mean, var = _batch_norm_native.stats(lib, x)
    move_running(running, mean, var, x.numel() // x.shape[1])
    return mean, var


def _kernel_apply(
    lib: Library,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: _Optional,
    bias: _Optional,
    residual: _Optional,
    relu: bool,
    eps: float,
    keep_mask: bool,
) -> tuple[Tensor, Tensor]:
    x, residual = dense_like(NAME, x, {"residual": residual})
    vectors = {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias}
    mean, var, weight, bias = as_stats(x, vectors)
    mask = _batch_norm_native.empty_mask(lib, x) if keep_mask else None
    out = _buffers.empty_reused(x)
    if x.numel():
        _batch_norm_native.apply(lib, x, mean, var, weight, bias, residual, relu, eps, out, mask)
    return out, _no_mask(x) if mask is None else mask


def _kernel_train(
    lib: Library,
    x: Tensor,
    weight: _Optional,
    bias: _Optional,
    residual: _Optional,
    relu: bool,
    eps: float,
    keep_mask: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, residual = dense_like(NAME, x, {"residual": residual})
    mean, var = _kernel_stats(lib, x)
    out, mask = _kernel_apply(lib, x, mean, var, weight, bias, residual, relu, eps, keep_mask)
    return out, mean, var, mask


def _gradient(x: Tensor, maps: dict[str, _Optional], *rest: Any) -> tuple[Gradient, _Optional]:
    """Return what both kernels of the gradient read, and the addend; maps: grad, grad2, residual and addend."""
    mask, mean, var, weight, bias, eps, gate = rest
    x, grad, grad2, residual, addend = dense_like(NAME, x, maps)
    mean, var, weight, bias = as_stats(x, {"mean": mean, "var": var, "weight": weight, "bias": bias})
    return Gradient(grad, grad2, x, residual, mask, mean, var, weight, bias, eps, gate), addend


def _kernel_backward_reduce(
    lib: Library, grad: Tensor, grad2: _Optional, x: Tensor, residual: _Optional, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    *common, want_masked = rest
    maps = {"grad": grad, "grad2": grad2, "residual": residual, "addend": None}
    gradient, _ = _gradient(x, maps, *common)
    masked = _buffers.empty_reused(gradient.x) if want_masked else None
    if x.numel() == 0:
        weight_grad = torch.zeros(x.shape[1], dtype=_batch_norm_native.stat_dtype(x), device=x.device)
        bias_grad = torch.zeros_like(weight_grad)
    else:
        weight_grad, bias_grad = _batch_norm_native.backward_reduce(lib, gradient, masked)
    return x.new_empty(0) if masked is None else masked, weight_grad, bias_grad


def _kernel_backward_apply(
    lib: Library, grad: Tensor, grad2: _Optional, x: Tensor, residual: _Optional, *rest: Any
) -> Tensor:
    *common, weight_grad, bias_grad, addend, count, batch_statistics = rest
    maps = {"grad": grad, "grad2": grad2, "residual": residual, "addend": addend}
    gradient, addend = _gradient(x, maps, *common)
    if x.numel() == 0:
        return torch.empty_like(gradient.x)
    weight_grad, bias_grad = as_stats(x, {"weight_grad": weight_grad, "bias_grad": bias_grad})
    return _batch_norm_native.backward_apply(lib, gradient, weight_grad, bias_grad, count, batch_statistics, addend)


def _fake_mask(x: Tensor, keep_mask: bool) -> Tensor:
    return torch.empty(checks.mask_bytes(x) if keep_mask else 0, dtype=torch.uint8, device=x.device)


def _fake_stats(x: Tensor, *running: Any) -> tuple[Tensor, Tensor]:
    mean = torch.empty(x.shape[1], dtype=_batch_norm_native.stat_dtype(x), device=x.device)
    return mean, torch.empty_like(mean)


def _fake_apply(x: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    return empty_dense(x), _fake_mask(x, args[-1])


def _fake_train(x: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return empty_dense(x), *_fake_stats(x), _fake_mask(x, args[-1])


def _fake_reduce(grad: Tensor, grad2: _Optional, x: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    return empty_dense(x) if args[-1] else x.new_empty(0), *_fake_stats(x)


def _setup(ctx: Any, tensors: tuple[_Optional, ...], mask: Tensor, flags: Any) -> None:
    x, mean, var, weight, bias, residual = tensors
    relu, eps, keep_mask = flags
    ctx.set_materialize_grads(False)
    ctx.relu, ctx.eps = relu, eps
    ctx.gate = GATE_NONE if not relu else GATE_MASK if keep_mask else GATE_RECOMPUTE
    keep_residual = residual if ctx.gate == GATE_RECOMPUTE else None
    ctx.save_for_backward(x, keep_residual, mask if keep_mask else None, mean, var, weight, bias)


def _setup_train(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, bias, residual, *flags = inputs
    out, mean, var, mask = output
    ctx.mark_non_differentiable(mean, var, mask)
    ctx.batch_statistics = True
    _setup(ctx, (x, mean, var, weight, bias, residual), mask, flags)


def _setup_apply(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, mean, var, weight, bias, residual, *flags = inputs
    out, mask = output
    ctx.mark_non_differentiable(mask)
    ctx.batch_statistics = False
    _setup(ctx, (x, mean, var, weight, bias, residual), mask, flags)


def _gradients(ctx: Any, grad: _Optional, needs: tuple[bool, ...]) -> tuple[_Optional, ...]:
    """Compute gradients of x, weight, bias, residual, as far as needed."""
    if grad is None:
        return None, None, None, None
    if torch.is_grad_enabled():
        raise NotImplementedError("batch_norm_act: second derivatives are not implemented")
    need_x, need_weight, need_bias, need_residual = needs
    x, residual, mask, mean, var, weight, bias = ctx.saved_tensors
    arguments = (grad, None, x, residual, mask, mean, var, weight, bias, ctx.eps, ctx.gate)
    gated = need_residual and ctx.gate != GATE_NONE
    weight_grad = bias_grad = x_grad = None
    residual_grad = grad if need_residual else None
    if gated or need_weight or need_bias or (need_x and ctx.batch_statistics):
        masked, weight_grad, bias_grad = backward_reduce_now(*arguments, gated)
        if gated:
            residual_grad = masked
            arguments = (masked, None, x, None, None, mean, var, weight, bias, ctx.eps, GATE_NONE)
    if need_x:
        count = x.numel() / max(x.shape[1], 1)
        x_grad = backward_apply_now(*arguments, weight_grad, bias_grad, None, count, ctx.batch_statistics)
    weight_grad = weight_grad.to(weight.dtype) if need_weight and weight_grad is not None else None
    bias_grad = bias_grad.to(bias.dtype) if need_bias and bias_grad is not None else None
    return x_grad, weight_grad, bias_grad, residual_grad


def _backward_train(ctx: Any, grad: _Optional, *unused: _Optional) -> tuple[_Optional, ...]:
    return *_gradients(ctx, grad, ctx.needs_input_grad[:4]), None, None, None


def _backward_apply_op(ctx: Any, grad: _Optional, *unused: _Optional) -> tuple[_Optional, ...]:
    needs = ctx.needs_input_grad
    x_grad, weight_grad, bias_grad, residual_grad = _gradients(ctx, grad, (needs[0], *needs[3:6]))
    return x_grad, None, None, weight_grad, bias_grad, residual_grad, None, None, None


_GRADIENT = (
    "Tensor grad, Tensor? grad2, Tensor x, Tensor? residual, Tensor? mask, Tensor mean, Tensor var, Tensor? weight, "
    "Tensor? bias, float eps, int gate"
)
stats = define(
    "batch_norm_stats(Tensor x, Tensor(a!)? running_mean=None, Tensor(b!)? running_var=None, "
    "Tensor(c!)? num_batches_tracked=None, float? momentum=None) -> (Tensor mean, Tensor var)",
    kernel=_kernel_stats,
    reference=stats_that_move,
    fake=_fake_stats,
    check=checks.check_stats,
)
backward_reduce = define(
    f"batch_norm_backward_reduce({_GRADIENT}, bool want_masked) -> (Tensor, Tensor, Tensor)",
    kernel=_kernel_backward_reduce,
    reference=reference.batch_norm_backward_reduce,
    fake=_fake_reduce,
    check=checks.check_reduce,
)
backward_apply = define(
    f"batch_norm_backward_apply({_GRADIENT}, Tensor? weight_grad, Tensor? bias_grad, "
    "Tensor? addend, float count, bool batch_statistics) -> Tensor",
    kernel=_kernel_backward_apply,
    reference=reference.batch_norm_backward_apply,
    fake=lambda grad, grad2, x, *rest: empty_dense(x),
    check=checks.check_backward,
)
apply = define(
    "batch_norm_act_apply(Tensor x, Tensor mean, Tensor var, Tensor? weight, Tensor? bias, Tensor? residual, "
    "bool relu, float eps, bool keep_mask) -> (Tensor out, Tensor mask)",
    kernel=_kernel_apply,
    reference=reference.batch_norm_act_apply,
    fake=_fake_apply,
    check=checks.check_apply,
    setup_context=_setup_apply,
    backward=_backward_apply_op,
    native="batch_norm_apply",
)
train = define(
    "batch_norm_act_train(Tensor x, Tensor? weight, Tensor? bias, Tensor? residual, bool relu, float eps, "
    "bool keep_mask) -> (Tensor out, Tensor mean, Tensor var, Tensor mask)",
    kernel=_kernel_train,
    reference=reference.batch_norm_act_train,
    fake=_fake_train,
    check=checks.check_train,
    setup_context=_setup_train,
    backward=_backward_train,
    native="batch_norm_stats",
)
stats_now, apply_now = map(below_autograd, (stats, apply))
backward_reduce_now, backward_apply_now = map(below_autograd, (backward_reduce, backward_apply))
Apply = autograd_function(apply, _setup_apply, _backward_apply_op)


class Train(torch.autograd.Function):
    """`train` by a shorter way, not where `is_recorded`; its first kernel moves the running statistics."""

    @staticmethod
    def forward(ctx: Any, running: Running, *inputs: Any) -> Tensor:
        """Return what the batch is mapped to; inputs: of `train`."""
        x, weight, bias, residual, *flags = inputs
        mean, var = stats_now(x) if running.mean is None else stats_now(x, *running)
        out, mask = apply_now(x, mean, var, weight, bias, residual, *flags)
        ctx.batch_statistics = True
        _setup(ctx, (x, mean, var, weight, bias, residual), mask, flags)
        return out

    @staticmethod
    def backward(ctx: Any, grad: _Optional) -> tuple[_Optional, ...]:  # type: ignore[override]
        """Compute gradients in the order of forward's arguments."""
        return None, *_gradients(ctx, grad, ctx.needs_input_grad[1:5]), None, None, None
