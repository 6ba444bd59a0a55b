"""max_pool: 2x2 max-pooling with a gradient that takes in the gradient of x's other consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hgfast import _checks, _native, reference
from hgfast._native import ABSENT, DTYPE_CODES, NHWC, exec_handle, layout_of
from hgfast.ops import _buffers, _layout
from hgfast.ops._operands import fit
from hgfast.ops._registry import define

if TYPE_CHECKING:
    from hgfast._library import Library

Tensor = torch.Tensor


def max_pool(x: Tensor) -> Tensor:
    """2x2 max-pooling with stride 2, as `nn.MaxPool2d(2, 2)`: an odd last row or column is left out.

    The winner of a cell is torch's: the first maximum in row-major order, or the last NaN. For the gradient only x is
    kept, and the winners are found in it once more: no memory where x is kept anyway.

    Args:
        x: (N, C, H, W), float32, float16, bfloat16 or float64; H and W at least 2; channels_last is the fast layout.

    Returns:
        (N, C, H // 2, W // 2) in x's memory format.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: rank or size.
    """
    _check(x)
    return _max_pool(x)


def max_pool_branch(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x, max_pool(x)) where x has another consumer, which is to be given the x that is returned.

    Its gradient and that of the pooling are then summed by the kernel of the latter, and not by one of their own.

    Args and errors: as :func:`max_pool`. The first result must not be changed in place while a gradient is asked for.
    """
    _check(x)
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if torch.is_grad_enabled() and x.requires_grad and not recorded:
        return _Branch.apply(x)
    return x, _max_pool(x)


def takes_pool(x: Any) -> bool:
    """Whether x is a tensor that these functions take, and no subclass."""
    of_floats = type(x) in _checks.PLAIN and x.dim() == 4 and x.is_floating_point() and x.layout is torch.strided
    return of_floats and bool(x.numel()) and min(x.shape[2:]) >= 2


def _check(x: Tensor) -> None:
    _checks.tensor("max_pool", "x", x, ndim=4)
    if min(x.shape[2:]) < 2:
        raise ValueError(f"max_pool: x must be at least 2 pixels high and wide, got shape {tuple(x.shape)}")


def _sizes(x: Tensor) -> tuple[int, int, int, int]:
    """n, h, w, c for the kernels, which know NHWC only: NCHW is n * c images of one channel."""
    n, c, h, w = x.shape
    return (n, h, w, c) if layout_of(x) == NHWC else (n * c, h, w, 1)


def _kernel(lib: Library, x: Tensor) -> Tensor:
    x = _layout.dense(x, x)
    out = _fake(x)
    if out.numel():
        dtype, handle = DTYPE_CODES[x.dtype], exec_handle(x)
        lib.max_pool(_native.ptr(x), _native.out(out), ABSENT, ABSENT, ABSENT, dtype, *_sizes(x), handle)
    return out


def _fake(x: Tensor) -> Tensor:
    return _layout.empty(x, x.shape[2] // 2, x.shape[3] // 2)


def _setup_context(ctx: Any, inputs: tuple[Tensor], output: Any) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None) -> Tensor | None:
    return None if grad is None else _max_pool_backward(grad, ctx.saved_tensors[0], None)


class _Branch(torch.autograd.Function):
    """x and its pooling as the two results of one node, which is where their gradients meet."""

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.view_as(x), _max_pool(x)

    setup_context = staticmethod(_setup_context)

    @staticmethod
    def backward(ctx: Any, branch: Tensor | None, grad: Tensor | None) -> Tensor | None:
        return branch if grad is None else _max_pool_backward(grad, ctx.saved_tensors[0], branch)


def _check_gradient(grad: Tensor, x: Tensor, addend: Tensor | None) -> None:
    _check(x)
    n, c, h, w = x.shape
    fit("max_pool_backward", "grad", grad, (n, c, h // 2, w // 2), ("x", x))
    if addend is not None:
        fit("max_pool_backward", "addend", addend, x.shape, ("x", x))


def _kernel_backward(lib: Library, grad: Tensor, x: Tensor, addend: Tensor | None) -> Tensor:
    x, grad = _layout.dense(x, x), _layout.dense(grad, x)
    addend = _layout.dense(addend, x)
    x_grad = _buffers.empty_reused(x)
    if x.numel():
        tensors = _native.ptr(x), _native.ptr(grad), _native.ptr(addend), _native.out(x_grad)
        lib.max_pool_backward(*tensors, DTYPE_CODES[x.dtype], *_sizes(x), exec_handle(x))
    return x_grad


def _setup_backward(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _double_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor | None]:
    addend = grad if ctx.needs_input_grad[2] else None
    return reference.max_pool_gather(grad, ctx.saved_tensors[0]), None, addend


_max_pool_backward = define(
    "max_pool_backward(Tensor grad, Tensor x, Tensor? addend) -> Tensor",
    kernel=_kernel_backward,
    reference=reference.max_pool_backward,
    fake=lambda grad, x, addend: _layout.empty_dense(x),
    check=_check_gradient,
    setup_context=_setup_backward,
    backward=_double_backward,
)
_max_pool = define(
    "max_pool(Tensor x) -> Tensor",
    kernel=_kernel,
    reference=reference.max_pool,
    fake=_fake,
    check=_check,
    setup_context=_setup_context,
    backward=_backward,
)
