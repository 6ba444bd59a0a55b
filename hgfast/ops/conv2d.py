"""conv2d: the convolution of training, differentiable any number of times."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hgfast import _checks, reference
from hgfast.ops import _conv_train
from hgfast.ops._conv_checks import check, check_stride, check_weight
from hgfast.ops._conv_native import ConvNeeds, ConvShape
from hgfast.ops._operands import fit
from hgfast.ops._registry import define
from hgfast.reference.blocks import LARGEST_KERNEL

if TYPE_CHECKING:
    from hgfast._library import Library


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """``F.conv2d`` with "same" padding ((r - 1) / 2 on each side), made for training on the CPU.

    float32 tensors on the CPU: 3x3 convolutions of stride 1 and 2 run by Winograd's algorithm (Lavin & Gray 2016) in
    both directions, with relative errors of 3e-6 instead of the 2e-7 to 1e-6 of direct sums (:func:`set_winograd` turns
    it off), 1x1 by a direct kernel, where these are faster than ATen. On CUDA the forward convolution runs by hgfast's
    kernel where that was timed on this card and is faster than cuDNN's (`HGFAST_TUNE`, docs/gpu.md). Everything else is
    ATen's.

    Args:
        x: (N, C, H, W) with C, H and W at least 1; channels_last is the fast layout. float32, float16, bfloat16 or
            float64.
        weight: (K, C, r, r), r odd, of x's dtype; its gradient comes in its memory format.
        bias: (K,), or None.
        stride: at least 1.

    Returns:
        (N, K, ceil(H / stride), ceil(W / stride)), channels_last. Differentiable, also twice. Of hgfast's kernels, the
        results do not depend on the number of threads.

    Raises:
        TypeError: an argument is no floating-point tensor, dtypes differ, or stride is no int.
        ValueError: ranks, sizes, devices or stride do not fit.
    """
    check("conv2d", x, weight, bias, stride)
    return _conv2d(x, weight, bias, stride)


def _reason(choice: int | str | ConvNeeds) -> str | None:
    return choice if isinstance(choice, str) else None


def _supports(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> str | None:
    return _reason(_conv_train.forward_choice(x, weight, bias, stride))


def _kernel(lib: Library, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return _conv_train.forward(x, weight, bias, stride)


def _reference(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    return reference.conv2d(x, weight, bias, stride).contiguous(memory_format=torch.channels_last)


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    h, w = (-(-size // stride) for size in x.shape[2:])
    return x.new_empty((x.shape[0], weight.shape[0], h, w)).contiguous(memory_format=torch.channels_last)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, ctx.stride = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    x_grad = weight_grad = None
    if ctx.needs_input_grad[0]:
        x_grad = _conv2d_input_grad(grad, weight, *x.shape[2:], ctx.stride)
    if ctx.needs_input_grad[1]:
        weight_grad = _conv2d_weight_grad(grad, x, weight.shape[-1], ctx.stride, not weight.is_contiguous())
    return x_grad, weight_grad, grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None


def _input_sizes(grad: Tensor, weight: Tensor, h: int, w: int, stride: int) -> ConvShape:
    return ConvShape(grad.shape[0], h, w, weight.shape[1], weight.shape[0], weight.shape[-1], stride)


def _check_input(grad: Tensor, weight: Tensor, h: int, w: int, stride: int) -> None:
    """ATen's gradients do not look whether their tensors fit each other."""
    op = "conv2d_input_grad"
    _checks.tensor(op, "grad", grad, ndim=4)
    check_weight(op, weight)
    for name, size in (("h", h), ("w", w)):
        _checks.integer(op, name, size, 1)
    check_stride(op, stride)
    _checks.same_kind(op, ("grad", grad), ("weight", weight))
    sizes = _input_sizes(grad, weight, h, w, stride)
    why = f"that of the result for h = {h}, w = {w}, stride = {stride} and weight of shape {tuple(weight.shape)}"
    _checks.shape(op, "grad", grad, (sizes.n, sizes.k, *sizes.result), why)


def _supports_input(grad: Tensor, weight: Tensor, h: int, w: int, stride: int) -> str | None:
    return _reason(_conv_train.input_grad_choice(grad, weight, _input_sizes(grad, weight, h, w, stride)))


def _kernel_input(lib: Library, grad: Tensor, weight: Tensor, h: int, w: int, stride: int) -> Tensor:
    return _conv_train.result_to_input(grad, weight, _input_sizes(grad, weight, h, w, stride))


def _reference_input(grad: Tensor, weight: Tensor, h: int, w: int, stride: int) -> Tensor:
    grad = grad.contiguous(memory_format=torch.channels_last)
    return reference.conv2d_input_grad(grad, weight, h, w, stride).contiguous(memory_format=torch.channels_last)


def _fake_input(grad: Tensor, weight: Tensor, h: int, w: int, stride: int) -> Tensor:
    return grad.new_empty((grad.shape[0], weight.shape[1], h, w)).contiguous(memory_format=torch.channels_last)


def _setup_input(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, weight, _, _, ctx.stride = inputs
    ctx.save_for_backward(grad, weight)


def _backward_input(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
    grad, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    grad_grad = _conv2d(x, weight, None, ctx.stride) if wanted[0] else None
    channels_last = not weight.is_contiguous()
    weight_grad = _conv2d_weight_grad(grad, x, weight.shape[-1], ctx.stride, channels_last) if wanted[1] else None
    return grad_grad, weight_grad, None, None, None


def _weight_sizes(grad: Tensor, x: Tensor, kernel: int, stride: int) -> ConvShape:
    n, c, h, w = x.shape
    return ConvShape(n, h, w, c, grad.shape[1], kernel, stride)


def _check_weight(grad: Tensor, x: Tensor, kernel: int, stride: int, channels_last: bool) -> None:
    """Check the weight's gradient as `_check_input` does the input's."""
    op = "conv2d_weight_grad"
    for name, value in (("grad", grad), ("x", x)):
        _checks.activations(op, name, value)
    _checks.integer(op, "kernel", kernel, 1, LARGEST_KERNEL)
    if kernel % 2 == 0:
        raise ValueError(f"{op}: kernel must be odd, got {kernel}")
    check_stride(op, stride)
    sizes = _weight_sizes(grad, x, kernel, stride)
    why = f"that of the result for stride = {stride} and x of shape {tuple(x.shape)}"
    fit(op, "grad", grad, (sizes.n, sizes.k, *sizes.result), ("x", x), why=why)


def _supports_weight(grad: Tensor, x: Tensor, kernel: int, stride: int, channels_last: bool) -> str | None:
    return _reason(_conv_train.weight_grad_choice(grad, x, _weight_sizes(grad, x, kernel, stride)))


def _kernel_weight(lib: Library, grad: Tensor, x: Tensor, kernel: int, stride: int, channels_last: bool) -> Tensor:
    return _conv_train.input_to_weight(grad, x, _weight_sizes(grad, x, kernel, stride), channels_last)


def _reference_weight(grad: Tensor, x: Tensor, *rest: Any) -> Tensor:
    grad, x = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (grad, x))
    return reference.conv2d_weight_grad(grad, x, *rest)


def _fake_weight(grad: Tensor, x: Tensor, kernel: int, stride: int, channels_last: bool) -> Tensor:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return x.new_empty((grad.shape[1], x.shape[1], kernel, kernel)).contiguous(memory_format=memory_format)


def _setup_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, x, _, ctx.stride, _ = inputs
    ctx.save_for_backward(grad, x)


def _backward_weight(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
    grad, x = ctx.saved_tensors
    grad_grad = _conv2d(x, weight, None, ctx.stride) if ctx.needs_input_grad[0] else None
    x_grad = _conv2d_input_grad(grad, weight, *x.shape[2:], ctx.stride) if ctx.needs_input_grad[1] else None
    return grad_grad, x_grad, None, None, None


_conv2d = define(
    "conv2d(Tensor x, Tensor weight, Tensor? bias, int stride) -> Tensor",
    kernel=_kernel,
    reference=_reference,
    fake=_fake,
    check=functools.partial(check, "conv2d"),
    supports=_supports,
    setup_context=_setup_context,
    backward=_backward,
    native="conv_train",
)
_conv2d_input_grad = define(
    "conv2d_input_grad(Tensor grad, Tensor weight, SymInt h, SymInt w, int stride) -> Tensor",
    kernel=_kernel_input,
    reference=_reference_input,
    fake=_fake_input,
    check=_check_input,
    supports=_supports_input,
    setup_context=_setup_input,
    backward=_backward_input,
    native="conv_train",
)
_conv2d_weight_grad = define(
    "conv2d_weight_grad(Tensor grad, Tensor x, int kernel, int stride, bool channels_last) -> Tensor",
    kernel=_kernel_weight,
    reference=_reference_weight,
    fake=_fake_weight,
    check=_check_weight,
    supports=_supports_weight,
    setup_context=_setup_weight,
    backward=_backward_weight,
    native="conv_weight_grad",
)
