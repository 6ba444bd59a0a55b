"""keypoint_mse and keypoint_mse_from_points: the heatmap loss and its gradient in one pass over the prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hgfast import _checks, _native, reference
from hgfast._native import DTYPE_CODES, exec_handle, layout_of
from hgfast.ops import _buffers
from hgfast.ops._batch_norm_native import stat_dtype
from hgfast.ops._operands import fit
from hgfast.ops._registry import define
from hgfast.ops.gaussian_heatmaps import check_points, check_sigma
from hgfast.reference.gaussian_heatmaps import GAUSSIAN_KINDS

if TYPE_CHECKING:
    from hgfast._library import Library


def keypoint_mse(pred: Tensor | Sequence[Tensor], target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over all N * K * H * W values of weight * (pred - target)^2 (MMPose's KeypointMSELoss).

    Joints of weight 0 stay in the denominator; there is no factor 1/2. For several stacks the losses are added up
    (intermediate supervision). Loss and gradient come from one pass over the prediction; the gradient is for `pred`
    alone. Deterministic.

    Args:
        pred: (N, K, H, W), contiguous or channels_last, or a list of them, one for each stack.
        target: (N, K, H, W); converted to float32 (float64 if pred is), and to pred's memory format.
        weight: (N, K), or None for all 1.

    Returns:
        The loss, a scalar: float32, or float64 for a float64 prediction.

    Raises:
        TypeError, ValueError: an argument does not fit.
    """
    op = "keypoint_mse"
    preds = _checked_stacks(op, pred)
    _checks.tensor(op, "target", target, ndim=4)
    _checks.shape(op, "target", target, preds[0].shape, "that of pred")
    _on_device(op, "target", target, preds[0])
    if weight is not None:
        _checks.tensor(op, "weight", weight, ndim=2, dtypes=(*_checks.FLOATING, torch.bool, torch.uint8, torch.int64))
        _checks.shape(op, "weight", weight, preds[0].shape[:2], "N, K of pred")
        _on_device(op, "weight", weight, preds[0])

    def one(stack: Tensor) -> Tensor:
        compute = torch.float64 if stack.dtype == torch.float64 else torch.float32
        wanted = target.detach().to(compute)
        weights = None if weight is None else weight.detach().to(compute).contiguous()
        return _keypoint_mse(stack, wanted, weights, _wants_gradient(stack))[0]

    return _add_up(preds, one)


def keypoint_mse_from_points(
    pred: Tensor | Sequence[Tensor], keypoints: Tensor, visible: Tensor, sigma: float, kind: str = "msra"
) -> Tensor:
    """keypoint_mse against `gaussian_heatmaps(keypoints, visible, ...)` and its weights, which are never written.

    Args:
        pred: (N, K, H, W), contiguous or channels_last, or a list of them, one for each stack.
        keypoints: (N, K, 2) in heatmap pixels.
        visible: (N, K).
        sigma: standard deviation in heatmap pixels.
        kind: as in `gaussian_heatmaps`.

    Returns:
        The loss, a scalar: float32, or float64 for a float64 prediction.

    Raises:
        TypeError, ValueError: an argument does not fit.
    """
    op = "keypoint_mse_from_points"
    preds = _checked_stacks(op, pred)
    check_points(op, keypoints, visible)
    check_sigma(op, sigma)
    _checks.choice(op, "kind", kind, GAUSSIAN_KINDS)
    _checks.shape(op, "visible", visible, preds[0].shape[:2], "N, K of pred")
    _on_device(op, "keypoints", keypoints, preds[0])
    points, seen = keypoints.detach().float().contiguous(), visible.detach().float().contiguous()
    index = GAUSSIAN_KINDS.index(kind)
    return _add_up(
        preds, lambda stack: _from_points(stack, points, seen, float(sigma), index, _wants_gradient(stack))[0]
    )


def _checked_stacks(op: str, pred: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if not isinstance(pred, (Tensor, list, tuple)):
        raise TypeError(f"{op}: pred must be a torch.Tensor or a list of them, got {type(pred).__name__}")
    preds = [pred] if isinstance(pred, Tensor) else list(pred)
    if not preds:
        raise ValueError(f"{op}: pred must hold at least one stack, got none")
    for stack in preds:
        _checks.tensor(op, "pred", stack, ndim=4)
        _checks.shape(op, "pred", stack, preds[0].shape, "that of the first stack")
        _on_device(op, "pred", stack, preds[0])
    return preds


def _on_device(op: str, name: str, value: Tensor, pred: Tensor) -> None:
    if value.device != pred.device:
        raise ValueError(f"{op}: {name} must be on pred's device {pred.device}, got {value.device}")


def _wants_gradient(pred: Tensor) -> bool:
    return torch.is_grad_enabled() and pred.requires_grad


def _add_up(preds: list[Tensor], loss: Callable[[Tensor], Tensor]) -> Tensor:
    total = loss(preds[0])
    for stack in preds[1:]:
        total = total + loss(stack)
    return total


def _dense(pred: Tensor) -> tuple[Tensor, int, torch.memory_format]:
    layout = layout_of(pred)
    if layout is None:
        pred, layout = pred.contiguous(), _native.NCHW
    return pred, layout, torch.channels_last if layout == _native.NHWC else torch.contiguous_format


def _launch(
    lib: Library, pred: Tensor, layout: int, want_grad: bool, inputs: Sequence[Tensor | None], axes: bool, kind: int,
    sigma: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Compute loss and gradient; inputs: target, weight, keypoints, visible, those that are given."""
    n, k, h, w = pred.shape
    compute = torch.float64 if pred.dtype == torch.float64 else torch.float32
    loss = torch.empty((), dtype=compute, device=pred.device)
    grad = _buffers.empty_reused(pred) if want_grad else torch.empty_like(pred[:0])
    if not pred.numel():
        return loss.fill_(float("nan")), grad  # the mean of nothing, as torch has it
    partial = torch.empty(n * k if layout == _native.NCHW else n * h, dtype=torch.float64, device=pred.device)
    tables = torch.empty(n * k * (w + h + 1), dtype=torch.float32) if axes and not _native.on_cuda(pred) else None
    target, weight, keypoints, visible = inputs
    lib.keypoint_mse(
        _native.ptr(pred), _native.ptr(target), _native.ptr(weight), _native.ptr(keypoints), _native.ptr(visible),
        _native.out(grad if want_grad else None), _native.out(partial), _native.out(tables), _native.out(loss),
        DTYPE_CODES[pred.dtype], layout, kind, sigma, n, k, h, w, exec_handle(pred),
    )  # fmt: skip
    return loss, grad


def _check(pred: Tensor, target: Tensor, weight: Tensor | None, want_grad: bool) -> None:
    op = "keypoint_mse"
    _checks.tensor(op, "pred", pred, ndim=4)
    fit(op, "target", target, pred.shape, ("pred", pred), (stat_dtype(pred),))
    if weight is not None:
        fit(op, "weight", weight, pred.shape[:2], ("pred", pred), (stat_dtype(pred),))


def _check_from_points(
    pred: Tensor, keypoints: Tensor, visible: Tensor, sigma: float, kind: int, want_grad: bool
) -> None:
    op = "keypoint_mse_from_points"
    _checks.tensor(op, "pred", pred, ndim=4)
    fit(op, "keypoints", keypoints, (*pred.shape[:2], 2), ("pred", pred), (torch.float32,))
    fit(op, "visible", visible, pred.shape[:2], ("pred", pred), (torch.float32,))
    check_sigma(op, sigma)
    _checks.integer(op, "kind", kind, 0, len(GAUSSIAN_KINDS) - 1)


def _kernel(
    lib: Library, pred: Tensor, target: Tensor, weight: Tensor | None, want_grad: bool
) -> tuple[Tensor, Tensor]:
    pred, layout, memory_format = _dense(pred)
    weight = None if weight is None else weight.contiguous()
    inputs = (target.contiguous(memory_format=memory_format), weight, None, None)
    return _launch(lib, pred, layout, want_grad, inputs, False, 0, 1.0)


def _kernel_from_points(
    lib: Library, pred: Tensor, keypoints: Tensor, visible: Tensor, sigma: float, kind: int, want_grad: bool
) -> tuple[Tensor, Tensor]:
    keypoints, visible = keypoints.contiguous(), visible.contiguous()
    pred, layout, _ = _dense(pred)
    return _launch(lib, pred, layout, want_grad, (None, None, keypoints, visible), True, kind, sigma)


def _reference(pred: Tensor, target: Tensor, weight: Tensor | None, want_grad: bool) -> tuple[Tensor, Tensor]:
    wide = pred.to(target.dtype)
    loss = reference.keypoint_mse(wide, target, weight)
    scale = 2 / max(pred.numel(), 1)
    difference = (wide - target) * scale
    grad = difference if weight is None else difference * weight[:, :, None, None]
    dense = _dense(pred)[0]
    return loss, torch.empty_like(dense).copy_(grad) if want_grad else torch.empty_like(dense[:0])


def _reference_from_points(
    pred: Tensor, keypoints: Tensor, visible: Tensor, sigma: float, kind: int, want_grad: bool
) -> tuple[Tensor, Tensor]:
    compute = torch.float64 if pred.dtype == torch.float64 else torch.float32
    size = (pred.shape[3], pred.shape[2])
    target, weight = reference.gaussian_heatmaps(keypoints, visible, size, sigma, GAUSSIAN_KINDS[kind], compute)
    return _reference(pred, target, weight.to(compute), want_grad)


def _fake(pred: Tensor, *inputs: Any) -> tuple[Tensor, Tensor]:
    compute = torch.float64 if pred.dtype == torch.float64 else torch.float32
    dense = _dense(pred)[0]
    return pred.new_empty((), dtype=compute), torch.empty_like(dense if inputs[-1] else dense[:0])


def _supports(pred: Tensor, *inputs: Any) -> str | None:
    return "float64 has no CUDA kernel" if _native.on_cuda(pred) and pred.dtype == torch.float64 else None


def _supports_from_points(pred: Tensor, *inputs: Any) -> str | None:
    return "a target is not made in float64" if pred.dtype == torch.float64 else None


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.input_count = len(inputs)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_loss: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    (grad,) = ctx.saved_tensors
    nothing = (None,) * (ctx.input_count - 1)
    if grad_loss is None:
        return None, *nothing
    # `loss.backward()` hands in 1: a look spares a pass over grad; on a GPU the look would wait for the stream
    plain = type(grad_loss) is Tensor and grad_loss.device.type == "cpu" and not torch.compiler.is_compiling()
    if plain and grad_loss.item() == 1.0:
        return grad, *nothing
    return grad * grad_loss.to(grad.dtype), *nothing


_keypoint_mse = define(
    "keypoint_mse(Tensor pred, Tensor target, Tensor? weight, bool want_grad) -> (Tensor, Tensor)",
    kernel=_kernel,
    check=_check,
    reference=_reference,
    fake=_fake,
    supports=_supports,
    setup_context=_setup_context,
    backward=_backward,
)
_from_points = define(
    "keypoint_mse_from_points(Tensor pred, Tensor keypoints, Tensor visible, float sigma, int kind, bool want_grad) "
    "-> (Tensor, Tensor)",
    kernel=_kernel_from_points,
    check=_check_from_points,
    reference=_reference_from_points,
    fake=_fake,
    supports=_supports_from_points,
    setup_context=_setup_context,
    backward=_backward,
    native="keypoint_mse",
)
