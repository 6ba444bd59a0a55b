"""upsample_add: the hourglass merge `skip + nearest2x(low)` in one pass, and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from hgfast import _checks, _native, reference
from hgfast._native import DTYPE_CODES, exec_handle, layout_of
from hgfast.ops import _buffers, _layout
from hgfast.ops._operands import expect, fit
from hgfast.ops._registry import define

if TYPE_CHECKING:
    from hgfast._library import Library

LARGEST_SIDE = 2**31 - 1


def upsample_add(skip: torch.Tensor, low: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
    """skip plus low, brought to skip's size by nearest-neighbour interpolation (the merge of an hourglass).

    The kernels take low at half of skip's size, rounded up; any other size gives what
    `skip + F.interpolate(low, size=skip.shape[-2:])` gives, by that expression.

    Args:
        skip: (N, C, H, W), float32, float16, bfloat16 or float64; channels_last is the fast layout.
        low: (N, C, h, w), of skip's dtype and device; h, w > 0 (usually ceil(H/2), ceil(W/2)).
        out: where to write; skip itself is allowed, and the fast way on a CPU, where a fresh output costs more than the
            sum. Differentiable for out = skip (an in-place operation, with torch's rules for those); any other `out`
            takes no gradient.

    Returns:
        (N, C, H, W) in skip's memory format; `out` if given. The gradient of skip is the incoming gradient itself.

    Raises:
        TypeError: an argument is no floating-point tensor, or their dtypes differ.
        ValueError: ranks, sizes or devices do not fit, a gradient is asked for through a foreign `out`, or `out` is
            expanded, or shares memory with low or with a part of skip.
    """
    _check(skip, low)
    if out is None:
        return _upsample_add(skip, low)
    if out is not skip:
        _check_out(skip, low, out)
        _upsample_add_out(skip.detach(), low.detach(), out)
        return out
    if torch.compiler.is_compiling():
        return skip.copy_(_upsample_add(skip, low))
    _checks.written("upsample_add", "out", skip)
    if torch.is_grad_enabled() and (skip.requires_grad or low.requires_grad):
        return _InPlace.apply(skip, low)
    _upsample_add_out(skip, low, skip)
    return skip


def _check(skip: torch.Tensor, low: torch.Tensor) -> None:
    _checks.tensor("upsample_add", "skip", skip, ndim=4)
    _checks.tensor("upsample_add", "low", low, ndim=4)
    _checks.same_kind("upsample_add", ("skip", skip), ("low", low))
    if low.shape[:2] != skip.shape[:2]:
        expected = tuple(skip.shape[:2])
        raise ValueError(f"upsample_add: low must start with skip's N, C = {expected}, got shape {tuple(low.shape)}")
    if skip.numel() and not low.numel():
        raise ValueError(f"upsample_add: low must not be empty, got shape {tuple(low.shape)}")


def _check_out(skip: torch.Tensor, low: torch.Tensor, out: torch.Tensor) -> None:
    _check_place(skip, low, out)
    asking = [name for name, t in (("skip", skip), ("low", low), ("out", out)) if t.requires_grad]
    if asking and torch.is_grad_enabled():
        raise ValueError(
            "upsample_add: out must be skip itself, or absent, where a gradient is asked for, as "
            f"{' and '.join(asking)} {'do' if len(asking) > 1 else 'does'}"
        )


def _check_place(skip: torch.Tensor, low: torch.Tensor, out: torch.Tensor) -> None:
    _check(skip, low)
    fit("upsample_add", "out", out, skip.shape, ("skip", skip))
    _checks.written("upsample_add", "out", out)


def _supports(skip: torch.Tensor, low: torch.Tensor, out: torch.Tensor | None = None) -> str | None:
    if not skip.numel():
        return None
    h, w = skip.shape[-2:]
    if tuple(low.shape[-2:]) != ((h + 1) // 2, (w + 1) // 2):
        return f"low of size {tuple(low.shape[-2:])} is not half of {(h, w)}, rounded up"
    if _native.on_cuda(skip) and skip.dtype == torch.float64:
        return "float64 has no CUDA kernel"
    if out is not None and (layout_of(out) is None or out.stride() != skip.stride()):
        return "out is not dense in skip's memory format"
    return None


def add_into(lib: Library, skip: torch.Tensor, low: torch.Tensor, out: torch.Tensor) -> None:
    """Call the kernel; skip and out dense in the same memory format, low dense in it too."""
    if not skip.numel():
        return
    n, c, h, w = skip.shape
    for name, value, size in (("low", low, ((h + 1) // 2, (w + 1) // 2)), ("out", out, (h, w))):
        expect("upsample_add", name, value, (n, c, *size), skip)
    in_place = out.data_ptr() == skip.data_ptr()
    if _overlap(out, low) or (not in_place and _overlap(out, skip)):
        raise ValueError("upsample_add: out must not share memory with low, nor a part of it with skip")
    target = _native.inout(out) if in_place else _native.out(out)
    source = target if in_place else _native.ptr(skip)
    dtype, layout = DTYPE_CODES[skip.dtype], layout_of(skip)
    assert layout is not None
    lib.upsample_add(source, _native.ptr(low), target, dtype, layout, n, h, w, c, exec_handle(skip))


def _overlap(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two dense tensors share memory."""
    size, distance = a.element_size(), b.data_ptr() - a.data_ptr()
    return -b.numel() * size < distance < a.numel() * size


def _kernel(lib: Library, skip: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    skip = _layout.dense(skip, skip)
    out = _buffers.empty_reused(skip)
    add_into(lib, skip, _layout.dense(low, skip), out)
    return out


def _kernel_out(lib: Library, skip: torch.Tensor, low: torch.Tensor, out: torch.Tensor) -> None:
    skip = _layout.dense(skip, skip)
    add_into(lib, skip, _layout.dense(low, skip), out)


def _reference(skip: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    return reference.upsample_add(skip, low) if skip.numel() else skip.clone()  # torch interpolates no empty maps


def _reference_out(skip: torch.Tensor, low: torch.Tensor, out: torch.Tensor) -> None:
    out.copy_(_reference(skip, low))


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
    ctx.low_size = tuple(inputs[1].shape[-2:])


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    return grad, upsample_add_backward(grad, *ctx.low_size) if ctx.needs_input_grad[1] else None


class _InPlace(torch.autograd.Function):
    """The in-place form with a gradient; register_autograd has no way to say that an input is changed."""

    @staticmethod
    def forward(ctx: Any, skip: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        ctx.low_size = tuple(low.shape[-2:])
        ctx.mark_dirty(skip)
        _upsample_add_out(skip, low, skip)
        return skip

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        return _backward(ctx, grad)


def _check_gradient(grad: torch.Tensor, low_h: int, low_w: int) -> None:
    op = "upsample_add_backward"
    _checks.tensor(op, "grad", grad, ndim=4)
    least = 1 if grad.numel() else 0
    for name, size in (("low_h", low_h), ("low_w", low_w)):
        _checks.integer(op, name, size, least, LARGEST_SIDE)


def _supports_backward(grad: torch.Tensor, low_h: int, low_w: int) -> str | None:
    h, w = grad.shape[-2:]
    if (low_h, low_w) != ((h + 1) // 2, (w + 1) // 2):
        return f"low of size {(low_h, low_w)} is not half of {(h, w)}, rounded up"
    return "float64 has no CUDA kernel" if _native.on_cuda(grad) and grad.dtype == torch.float64 else None


def _kernel_backward(lib: Library, grad: torch.Tensor, low_h: int, low_w: int) -> torch.Tensor:
    n, c, h, w = grad.shape
    grad = _layout.dense(grad, grad)
    grad_low = _layout.empty(grad, low_h, low_w)
    if grad_low.numel():
        dtype, layout, handle = DTYPE_CODES[grad.dtype], layout_of(grad), exec_handle(grad)
        assert layout is not None
        lib.upsample_add_backward(_native.ptr(grad), _native.out(grad_low), dtype, layout, n, h, w, c, handle)
    return grad_low


def _setup_double_backward(ctx: Any, inputs: tuple[torch.Tensor, int, int], output: torch.Tensor) -> None:
    ctx.size = tuple(inputs[0].shape[-2:])


def _double_backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
    return F.interpolate(grad, size=ctx.size, mode="nearest"), None, None


upsample_add_backward = define(
    "upsample_add_backward(Tensor grad, SymInt low_h, SymInt low_w) -> Tensor",
    kernel=_kernel_backward,
    reference=reference.upsample_add_backward,
    fake=_layout.empty,
    check=_check_gradient,
    supports=_supports_backward,
    setup_context=_setup_double_backward,
    backward=_double_backward,
)
_upsample_add = define(
    "upsample_add(Tensor skip, Tensor low) -> Tensor",
    kernel=_kernel,
    reference=_reference,
    fake=lambda skip, low: _layout.empty_dense(skip),
    check=_check,
    supports=_supports,
    setup_context=_setup_context,
    backward=_backward,
)
_upsample_add_out = define(
    "upsample_add_out(Tensor skip, Tensor low, Tensor(a!) out) -> ()",
    kernel=_kernel_out,
    reference=_reference_out,
    fake=lambda skip, low, out: None,
    check=_check_place,
    supports=_supports,
    native="upsample_add",
)
