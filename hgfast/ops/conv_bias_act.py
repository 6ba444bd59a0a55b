"""conv_bias_act: a convolution with everything that follows it in a residual block or an hourglass's merge."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hgfast import _checks, _native, reference
from hgfast._native import ABSENT
from hgfast.ops import _first_call
from hgfast.ops._conv_checks import check as check_convolution
from hgfast.ops._conv_native import ConvNeeds, ConvShape, packed_weight, query
from hgfast.ops._registry import define
from hgfast.ops._ways import KERNEL, TORCH, Ways

if TYPE_CHECKING:
    from hgfast._library import Library


def conv_bias_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int = 1,
    residual: Tensor | None = None,
    relu: bool = True,
    upsample_to: Tensor | None = None,
) -> Tensor:
    """``relu(conv2d(x, weight, bias, stride) + residual)`` in one kernel, "same" padding; made for inference.

    With upsample_to, that result is brought to upsample_to's size (nearest neighbour, 2x) and added to it in the same
    kernel: the merge of an hourglass. The kernel wants packed weights: on the CPU they are packed at the first call and
    again when their numbers have changed, in whatever way (a copy is kept and compared), on CUDA at each call; a frozen
    network (:func:`hgfast.freeze`) packs once. On CUDA the first call of a size compares and times kernels
    (docs/gpu.md): what is wrong, or slower, is not used. On the CPU 3x3 convolutions run by Winograd's algorithm where
    that is faster: relative error below 1e-4 (usually 2e-6) instead of 1e-6.

    Args:
        x: (N, C, H, W) with C, H and W at least 1; channels_last is the fast layout.
        weight: (K, C, r, r), r odd.
        bias: (K,), or None.
        stride: of the convolution, at least 1.
        residual: (N, K, P, Q) added before the ReLU, P = ceil(H / stride), Q = ceil(W / stride); or None.
        relu: whether to rectify.
        upsample_to: (N, K, P', Q') with P = ceil(P' / 2) and Q = ceil(Q' / 2), or None. Other sizes are taken as
            :func:`hgfast.ops.upsample_add` takes them.

    Returns:
        (N, K, P, Q), or (N, K, P', Q'); in channels_last where the kernel ran. The kernels take float32, on the CPU
        bfloat16 (summed in float32), on CUDA both half types (and float32 in tf32 where
        `torch.backends.cudnn.allow_tf32` is set, else by three products of tf32 numbers, which is as good as float32
        arithmetic); other dtypes give the same by torch's own operators.
        Differentiable.

    Raises:
        TypeError: an argument is no floating-point tensor, or dtypes differ.
        ValueError: ranks, sizes, devices or stride do not fit.
    """
    _check(x, weight, bias, stride, residual, upsample_to)
    relu = _checks.flag("conv_bias_act", "relu", relu)
    return _conv_bias_act(x, weight, bias, stride, residual, relu, upsample_to)


def _check(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, residual: Tensor | None, upsample_to: Tensor | None
) -> None:
    op = "conv_bias_act"
    check_convolution(op, x, weight, bias, stride)
    k, optional = weight.shape[0], [("residual", residual), ("upsample_to", upsample_to)]
    for name, value in optional:
        if value is not None:
            _checks.tensor(op, name, value, ndim=4)
    _checks.same_kind(op, ("x", x), *optional)
    result = (x.shape[0], k, -(-x.shape[2] // stride), -(-x.shape[3] // stride))
    if residual is not None and residual.shape != result:
        came = f"x of shape {tuple(x.shape)}, weight of shape {tuple(weight.shape)} and stride {stride}"
        _checks.shape(op, "residual", residual, result, f"that of the result for {came}")
    if upsample_to is not None and (upsample_to.shape[:2] != result[:2] or 0 in upsample_to.shape[2:]):
        raise ValueError(
            f"{op}: upsample_to must start with N, K = {result[:2]} of x and weight, and have pixels; "
            f"got shape {tuple(upsample_to.shape)}"
        )


def _check_operator(x: Tensor, weight: Tensor, *rest: Any) -> None:
    bias, stride, residual, _, upsample_to = rest
    _check(x, weight, bias, stride, residual, upsample_to)


def _sizes(x: Tensor, weight: Tensor, stride: int, upsample_to: Tensor | None) -> ConvShape:
    out_h, out_w = (0, 0) if upsample_to is None else upsample_to.shape[-2:]
    (n, c, h, w), (k, _, kernel, _) = x.shape, weight.shape
    exact = not torch.backends.cudnn.allow_tf32
    return ConvShape(n, h, w, c, k, kernel, stride, out_h, out_w, dtype=x.dtype, exact=exact)


def _supports(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, *rest: Any) -> str | None:
    upsample_to = rest[-1]
    sizes = _sizes(x, weight, stride, upsample_to)
    if 0 in (*x.shape, *weight.shape, *sizes.output):
        return "empty"
    if upsample_to is not None and sizes.result != (-(-sizes.out_h // 2), -(-sizes.out_w // 2)):
        return f"result of size {sizes.result} is not half of upsample_to's {sizes.output}, rounded up"
    lib = _native.library(x.device.type)
    assert lib is not None  # or nobody would ask what it takes
    try:
        query(lib, sizes, 1)
    except ValueError as error:
        return str(error)
    return None


def _kernel(
    lib: Library,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    residual: Tensor | None,
    relu: bool,
    upsample_to: Tensor | None,
) -> Tensor:
    sizes, exec_handle = _sizes(x, weight, stride, upsample_to), _native.exec_handle(x)
    args = x, weight, bias, stride, residual, relu, upsample_to

    def ways(needs: ConvNeeds | None) -> Ways:
        own = {} if needs is None else {KERNEL: partial(_by_kernel, lib, needs, *args)}
        return {**own, TORCH: partial(_reference, *args)}

    needs, way = _first_call.conv(lib, x, sizes, residual is not None, relu, exec_handle, ways)
    return ways(needs)[way]()


def _by_kernel(
    lib: Library,
    needs: ConvNeeds,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    residual: Tensor | None,
    relu: bool,
    upsample_to: Tensor | None,
) -> Tensor:
    sizes, exec_handle = _sizes(x, weight, stride, upsample_to), _native.exec_handle(x)
    packed = packed_weight(lib, weight, sizes, needs, exec_handle)
    x = x.contiguous(memory_format=torch.channels_last)
    residual, upsample_to = _nhwc(residual), _nhwc(upsample_to)
    bias = None if bias is None else bias.float().contiguous()
    y = _empty(x, sizes)
    make = torch.zeros if _native.on_cuda(x) else torch.empty  # csrc/common/conv.h: workspace
    workspace = make(needs.workspace_bytes, dtype=torch.uint8, device=x.device)
    lib.conv(
        sizes.native(lib, needs.algorithm), _native.ptr(x), _native.ptr(packed), _native.ptr(bias),
        _native.ptr(residual), _native.ptr(upsample_to), ABSENT, _native.out(y), ABSENT, ABSENT, ABSENT, relu,
        _native.inout(workspace), needs.workspace_bytes, exec_handle,
    )  # fmt: skip
    return y


def _nhwc(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous(memory_format=torch.channels_last)


def _empty(x: Tensor, sizes: ConvShape) -> Tensor:
    shape = (sizes.n, sizes.k, *sizes.output)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _reference(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return reference.conv_bias_act(x, weight, *rest).contiguous(memory_format=torch.channels_last)


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, *rest: Any) -> Tensor:
    return _empty(x, _sizes(x, weight, stride, rest[-1]))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.stride, residual, ctx.relu, upsample_to = inputs
    ctx.merged = upsample_to is not None
    # Behind a merge the sign of the rectified value cannot be read off the output: it is computed again.
    again = (bias, residual) if ctx.relu and ctx.merged else (None, None)
    ctx.save_for_backward(x, weight, *again, output if ctx.relu and not ctx.merged else None)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias, residual, output = ctx.saved_tensors
    grad_upsample_to = grad if ctx.needs_input_grad[6] else None
    if ctx.merged:
        height, width = (-(-size // ctx.stride) for size in x.shape[2:])
        grad = torch.ops.hgfast.upsample_add_backward(grad, height, width)
    if ctx.relu:
        if ctx.merged:
            output = _conv_bias_act(x, weight, bias, ctx.stride, residual, True, None)
        grad = grad * (output > 0)
    grads = reference.conv2d_gradients(grad, x, weight, ctx.stride, ctx.needs_input_grad[:3])
    return *grads, None, grad if ctx.needs_input_grad[4] else None, None, grad_upsample_to


_conv_bias_act = define(
    "conv_bias_act(Tensor x, Tensor weight, Tensor? bias, int stride, Tensor? residual, bool relu, "
    "Tensor? upsample_to) -> Tensor",
    kernel=_kernel,
    reference=_reference,
    fake=_fake,
    check=_check_operator,
    supports=_supports,
    setup_context=_setup_context,
    backward=_backward,
    native="conv",
)
