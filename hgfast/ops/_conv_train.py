"""The convolutions of a training step, "same" padding, without autograd: what `conv2d` and the fused blocks call.

float32 tensors on the CPU go to hgfast's kernels where these are faster (`_conv_choice`), forward convolutions on CUDA
where they were timed and are faster (`_conv_train_cuda`), all others to ATen. `forward` and `backward` make sure that
their tensors fit each other.
"""

from __future__ import annotations

import torch

from hgfast import _native
from hgfast._checks import PLAIN
from hgfast._switches import is_disabled
from hgfast.ops import _buffers, _conv_train_cuda
from hgfast.ops import _conv_choice as choose
from hgfast.ops._conv_checks import check
from hgfast.ops._conv_choice import Choice
from hgfast.ops._conv_native import ConvNeeds, ConvShape
from hgfast.ops._operands import expect
from hgfast.reference.conv2d import Gradients, conv2d_add, conv2d_gradients

OP = "conv2d"
Tensor = torch.Tensor


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, addend: Tensor | None = None) -> Tensor:
    """Convolve x (N, C, H, W) with weight (K, C, r, r) and add addend.

    Returns:
        (N, K, ceil(H / stride), ceil(W / stride)), channels_last.

    Raises:
        TypeError, ValueError: the tensors do not fit each other.
    """
    sizes = _fitting_sizes(x, weight, bias, stride)
    if addend is not None:
        expect(OP, "addend", addend, (sizes.n, sizes.k, *sizes.result), x)
    algorithm = _forward_choice(x, weight, sizes, addend is not None)
    if isinstance(algorithm, ConvNeeds):
        return _conv_train_cuda.convolve(
            algorithm, sizes, _nhwc(x), weight, bias, None if addend is None else _nhwc(addend)
        )
    if isinstance(algorithm, str):
        return conv2d_add(_nhwc(x), weight, bias, stride, addend)
    return _convolve(sizes, algorithm, x, weight, bias, addend, transposed=False)


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    needs: tuple[bool, bool, bool],
    addend: Tensor | None = None,
) -> Gradients:
    """Compute gradients of x (plus addend), weight and bias, as far as needs says.

    Raises:
        TypeError, ValueError: the tensors do not fit each other.
    """
    x_grad = weight_grad = bias_grad = None
    sizes = _fitting_sizes(x, weight, None, stride)
    expect(OP, "grad", grad, (sizes.n, sizes.k, *sizes.result), x)
    expect(OP, "addend", addend, x.shape, x)
    grad = _nhwc(grad)
    own_x = needs[0] and not isinstance(input_grad_choice(grad, weight, sizes), str)
    own_weight = needs[1] and not isinstance(weight_grad_choice(grad, x, sizes), str)
    rest = needs[0] and not own_x, needs[1] and not own_weight, needs[2] and grad.is_cuda
    if any(rest):
        x_grad, weight_grad, bias_grad = conv2d_gradients(grad, _nhwc(x), weight, stride, rest)
        if x_grad is not None and addend is not None:
            x_grad = x_grad.add_(addend)
    if own_weight:
        weight_grad = input_to_weight(grad, x, sizes, not weight.is_contiguous())
    if own_x:
        x_grad = result_to_input(grad, weight, sizes, addend)
    if needs[2] and not rest[2]:
        bias_grad = grad.sum((0, 2, 3))  # oneDNN's takes 60 times as long
    return x_grad, weight_grad, bias_grad


def _fitting_sizes(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> ConvShape:
    """Return the sizes of a convolution of these tensors.

    Raises:
        TypeError, ValueError: there is none.
    """
    dtype, on_cpu = x.dtype, x.is_cpu
    try:
        (n, c, h, w), (k, channels, height, kernel) = x.shape, weight.shape
    except ValueError:
        check(OP, x, weight, bias, stride)
        raise
    fits = channels == c and height == kernel and kernel % 2 and c and h and w and k and weight.dtype is dtype
    if fits and bias is not None:
        fits = bias.dim() == 1 and bias.numel() == k and bias.dtype is dtype
        fits = fits and (bias.is_cpu if on_cpu else bias.device == x.device)
    if not (fits and (weight.is_cpu if on_cpu else weight.device == x.device)):
        check(OP, x, weight, bias, stride)
    return ConvShape(n, h, w, c, k, kernel, stride, dtype=dtype)


def forward_choice(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Choice | ConvNeeds:
    """Algorithm of the forward convolution, or why it is ATen's."""
    return _forward_choice(x, weight, _fitting_sizes(x, weight, bias, stride), with_addend=False)


def _forward_choice(x: Tensor, weight: Tensor, sizes: ConvShape, with_addend: bool) -> Choice | ConvNeeds:
    if _native.on_cuda(x):
        return _foreign(x, weight) or _conv_train_cuda.choice(x, sizes, with_addend)
    return _refusal(x, weight) or choose.result(sizes)


def input_grad_choice(grad: Tensor, weight: Tensor, sizes: ConvShape) -> Choice:
    """Algorithm of the input gradient, or why it is ATen's."""
    return _refusal(grad, weight) or choose.input_grad(sizes)


def weight_grad_choice(grad: Tensor, x: Tensor, sizes: ConvShape) -> Choice:
    """Algorithm of the weight gradient, or why it is ATen's."""
    return _refusal(grad, x) or choose.weight_grad(sizes)


def _foreign(first: Tensor, second: Tensor) -> str:
    """Why no kernel may have these tensors, wherever they are."""
    if is_disabled("conv2d"):
        return "HGFAST_DISABLE names conv2d"
    if torch._C._len_torch_dispatch_stack() or type(first) not in PLAIN or type(second) not in PLAIN:
        return "a tensor subclass or a mode takes the place of plain tensors"
    return "" if first.numel() and second.numel() else "empty"


def _refusal(first: Tensor, second: Tensor) -> str:
    if reason := _foreign(first, second):
        return reason
    if _native.on_cuda(first) or not first.is_cpu:
        return "the gradients of convolutions have kernels on the CPU only"
    if first.dtype is not torch.float32 or second.dtype is not torch.float32:
        return "the convolutions of training have float32 kernels only"
    return ""


def result_to_input(grad: Tensor, weight: Tensor, sizes: ConvShape, addend: Tensor | None = None) -> Tensor:
    """Compute the gradient of the input, plus addend; by the kernel chosen for these tensors' sizes."""
    algorithm = choose.input_grad(sizes)
    assert not isinstance(algorithm, str), algorithm
    if algorithm == choose.STRIDED:
        return _strided_grad(sizes, grad, weight, addend)
    return _convolve(choose.turned(sizes), algorithm, grad, weight, None, addend, transposed=True)


def input_to_weight(grad: Tensor, x: Tensor, sizes: ConvShape, channels_last: bool) -> Tensor:
    """Compute the gradient of the weight (K, C, r, r), by the kernel chosen for these tensors' sizes."""
    algorithm = choose.weight_grad(sizes)
    assert not isinstance(algorithm, str), algorithm
    grad, x = _nhwc(grad), _nhwc(x)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    size = (sizes.k, sizes.c, sizes.kernel, sizes.kernel)
    out = torch.empty(size, dtype=x.dtype, memory_format=memory_format)
    lib = _native.library("cpu")
    lib.conv_weight_grad(
        sizes.native(lib, algorithm), _native.ptr(x), _native.ptr(grad), _native.out(out), channels_last,
        _native.exec_handle(x),
    )  # fmt: skip
    return out


def _strided_grad(sizes: ConvShape, grad: Tensor, weight: Tensor, addend: Tensor | None) -> Tensor:
    grad, addend = _nhwc(grad), None if addend is None else _nhwc(addend)
    weight, channels_last = _dense_weight(weight)
    x_grad = _buffers.empty_nhwc((sizes.n, sizes.c, sizes.h, sizes.w), grad)
    lib = _native.library("cpu")
    lib.conv_strided_grad(
        sizes.native(lib, choose.STRIDED), _native.ptr(grad), _native.ptr(weight), _native.ptr(addend),
        _native.out(x_grad), channels_last, _native.exec_handle(grad),
    )  # fmt: skip
    return x_grad


def _dense_weight(weight: Tensor) -> tuple[Tensor, bool]:
    """Return the weight, dense, with its numbers in memory, and whether it is in channels_last order."""
    channels_last = not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
    return (weight if channels_last else weight.contiguous()).resolve_neg(), channels_last


def _convolve(
    sizes: ConvShape,
    algorithm: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    addend: Tensor | None,
    *,
    transposed: bool,
) -> Tensor:
    x = _nhwc(x)
    weight, channels_last = _dense_weight(weight)
    addend = None if addend is None else _nhwc(addend)
    y = _buffers.empty_nhwc((sizes.n, sizes.k, *sizes.result), x)
    lib = _native.library("cpu")
    bias = None if bias is None else bias.contiguous().resolve_neg()
    lib.conv_train(
        sizes.native(lib, algorithm), _native.ptr(x), _native.ptr(weight), _native.ptr(bias), _native.ptr(addend),
        _native.out(y), transposed, channels_last, _native.exec_handle(x),
    )  # fmt: skip
    return y


def _nhwc(tensor: Tensor) -> Tensor:
    """Dense in channels_last order, with its numbers in memory, not their negatives."""
    return tensor.contiguous(memory_format=torch.channels_last).resolve_neg()
