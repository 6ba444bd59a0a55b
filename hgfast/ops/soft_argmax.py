"""soft_argmax: the differentiable decoding behind `decode_heatmaps(method="soft")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hgfast import _checks, _native, reference
from hgfast._native import DTYPE_CODES, exec_handle
from hgfast.ops._batch_norm_native import stat_dtype
from hgfast.ops._heatmaps import check_heatmaps, dense_maps, points_like
from hgfast.ops._operands import fit
from hgfast.ops._registry import define

if TYPE_CHECKING:
    from hgfast._library import Library

OP = "soft_argmax"
WIDEST = 1 << 20  # a window that holds any map
Three = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def soft_argmax(heatmaps: torch.Tensor, temperature: float, window: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Find keypoints (N, K, 2) and scores (N, K) of checked arguments, see `hgfast.ops.decode_heatmaps`."""
    return _soft_argmax(heatmaps, float(temperature), -1 if window is None else min(int(window), WIDEST))[:2]


def check_soft(op: str, temperature: float, window: int | None) -> None:
    """Check the arguments of the method "soft", whether it is asked for or not.

    Raises:
        TypeError, ValueError: temperature is no positive, finite number, or window no number of pixels.
    """
    _checks.number(op, "temperature", temperature, above=0)
    if window is not None:
        _checks.integer(op, "window", window, 0)


def _check(heatmaps: torch.Tensor, temperature: float, window: int) -> None:
    check_heatmaps(OP, "heatmaps", heatmaps)
    check_soft(OP, temperature, None)
    _checks.integer(OP, "window", window, -1, WIDEST)


def _supports(heatmaps: torch.Tensor, *rest: Any) -> str | None:
    return "float64 has no CUDA kernel" if _native.on_cuda(heatmaps) and heatmaps.dtype == torch.float64 else None


def _fake(heatmaps: torch.Tensor, temperature: float, window: int) -> Three:
    return points_like(heatmaps, 2), points_like(heatmaps), points_like(heatmaps)


def _kernel(lib: Library, heatmaps: torch.Tensor, temperature: float, window: int) -> Three:
    keypoints, scores, totals = _fake(heatmaps, temperature, window)
    if scores.numel():
        heatmaps, _, layout = dense_maps(heatmaps, None)
        n, k, h, w = heatmaps.shape
        lib.soft_argmax(
            _native.ptr(heatmaps), DTYPE_CODES[heatmaps.dtype], layout, n, k, h, w, _native.out(keypoints),
            _native.out(scores), _native.out(totals), temperature, window, exec_handle(heatmaps),
        )  # fmt: skip
    return keypoints, scores, totals


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, float, int], output: Three) -> None:
    ctx.temperature, ctx.window = inputs[1:]
    ctx.save_for_backward(inputs[0], *output)
    ctx.mark_non_differentiable(output[2])


def _backward(ctx: Any, grad_keypoints: torch.Tensor, grad_scores: torch.Tensor, _: Any) -> Any:
    grads = grad_keypoints.contiguous(), grad_scores.contiguous()
    return _soft_argmax_backward(*ctx.saved_tensors, *grads, ctx.temperature, ctx.window), None, None


def _fake_backward(heatmaps: torch.Tensor, *rest: Any) -> torch.Tensor:
    return torch.empty_like(heatmaps, memory_format=torch.contiguous_format)


def _check_gradient(heatmaps: torch.Tensor, *rest: Any) -> None:
    *points, temperature, window = rest
    _check(heatmaps, temperature, window)
    names = ("keypoints", "scores", "totals", "grad_keypoints", "grad_scores")
    for name, value in zip(names, points, strict=True):
        shape = (*heatmaps.shape[:2], 2) if "keypoints" in name else heatmaps.shape[:2]
        fit("soft_argmax_backward", name, value, shape, ("heatmaps", heatmaps), (stat_dtype(heatmaps),))


def _kernel_backward(
    lib: Library,
    heatmaps: torch.Tensor,
    keypoints: torch.Tensor,
    scores: torch.Tensor,
    totals: torch.Tensor,
    grad_keypoints: torch.Tensor,
    grad_scores: torch.Tensor,
    temperature: float,
    window: int,
) -> torch.Tensor:
    grad = _fake_backward(heatmaps)
    if grad.numel():
        maps, keypoints, scores = heatmaps.contiguous(), keypoints.contiguous(), scores.contiguous()
        totals, grad_keypoints, grad_scores = totals.contiguous(), grad_keypoints.contiguous(), grad_scores.contiguous()
        n, k, h, w = maps.shape
        lib.soft_argmax_backward(
            _native.ptr(maps), DTYPE_CODES[maps.dtype], n, k, h, w, _native.ptr(keypoints), _native.ptr(scores),
            _native.ptr(totals), _native.ptr(grad_keypoints), _native.ptr(grad_scores), _native.out(grad),
            temperature, window, exec_handle(maps),
        )  # fmt: skip
    return grad


def _no_second_derivative(ctx: Any, grad: torch.Tensor) -> None:
    raise NotImplementedError('decode_heatmaps(method="soft") has no second derivative')


_soft_argmax_backward = define(
    "soft_argmax_backward(Tensor heatmaps, Tensor keypoints, Tensor scores, Tensor totals, Tensor grad_keypoints, "
    "Tensor grad_scores, float temperature, int window) -> Tensor",
    kernel=_kernel_backward,
    reference=reference.soft_argmax_backward,
    fake=_fake_backward,
    check=_check_gradient,
    supports=_supports,
    setup_context=lambda ctx, inputs, output: None,
    backward=_no_second_derivative,
)
_soft_argmax = define(
    "soft_argmax(Tensor heatmaps, float temperature, int window) -> (Tensor, Tensor, Tensor)",
    kernel=_kernel,
    reference=reference.soft_argmax,
    fake=_fake,
    check=_check,
    supports=_supports,
    setup_context=_setup_context,
    backward=_backward,
)
