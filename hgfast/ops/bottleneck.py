"""bottleneck: a whole pre-activation residual block of an inference network in one kernel."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hgfast import _checks, _native, reference
from hgfast._native import ABSENT
from hgfast.constants import constant
from hgfast.ops import _batch_norm_native as pointwise
from hgfast.ops import _bottleneck_native, _first_call
from hgfast.ops._batch_norm_native import as_stats
from hgfast.ops._bottleneck_native import BottleneckNeeds, BottleneckShape
from hgfast.ops._conv_native import packed_weight
from hgfast.ops._conv_native import query as conv_query
from hgfast.ops._operands import fit
from hgfast.ops._registry import define
from hgfast.ops._ways import CONVOLUTIONS, KERNEL, TORCH, Ways
from hgfast.ops.conv_bias_act import conv_bias_act

if TYPE_CHECKING:
    from hgfast._library import Library

OP = "bottleneck"
VECTORS = ("scale", "shift", "bias1", "bias2", "bias3")


def bottleneck(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    weight3: Tensor,
    bias3: Tensor,
    upsample_to: Tensor | None = None,
) -> Tensor:
    """``x + conv3(relu(conv2(relu(conv1(relu(scale * x + shift))))))`` with BatchNorm folded into weights and biases.

    The block of Newell's hourglass in inference; 3x3 padding is of the activation, as in the network. The CUDA kernel
    reads x once and writes the result once. It takes float16 and bfloat16, C and M multiples of 8, M up to 128; the
    rest, and the CPU, take torch's own operators. Its first call of a size is compared with torch, and timed beside
    hgfast's convolutions and torch's operators: the fastest of the three has the size (docs/gpu.md).

    Args:
        x: (N, C, H, W) with C, H and W at least 1; channels_last is the fast layout.
        scale, shift: (C,), of the BatchNorm that opens the block; float32 or x's dtype, like the biases.
        weight1, weight2, weight3: (M, C, 1, 1), (M, M, 3, 3) and (C, M, 1, 1); the CUDA kernel has them packed at each
            call (a frozen network, see :func:`hgfast.freeze`, packs once).
        bias1, bias2, bias3: (M,), (M,) and (C,).
        upsample_to: (N, C, H', W') with H = ceil(H' / 2) and W = ceil(W' / 2): the result is brought to this size
            (nearest neighbour) and added to it, as in :func:`hgfast.ops.upsample_add`; or None.

    Returns:
        (N, C, H, W), or (N, C, H', W'), in channels_last; no gradient.

    Raises:
        TypeError: an argument is no floating-point tensor, or dtypes differ.
        ValueError: ranks, sizes or devices do not fit, or a gradient is asked for.
    """
    weights, vectors = (weight1, weight2, weight3), (scale, shift, bias1, bias2, bias3)
    _check(x, weights, vectors, upsample_to)
    return _bottleneck(x, scale, shift, weight1, bias1, weight2, bias2, weight3, bias3, upsample_to)


def _check(x: Tensor, weights: tuple[Tensor, ...], vectors: tuple[Tensor, ...], upsample_to: Tensor | None) -> None:
    _checks.activations(OP, "x", x)
    for i, weight in enumerate(weights, 1):
        _checks.tensor(OP, f"weight{i}", weight, ndim=4)
    c, m = x.shape[1], weights[0].shape[0]
    if not m:
        raise ValueError(f"{OP}: weight1 must give channels, got shape {tuple(weights[0].shape)}")
    why = f"x has {tuple(x.shape)}, weight1 {tuple(weights[0].shape)}"
    shapes = ((m, c, 1, 1), (m, m, 3, 3), (c, m, 1, 1))
    for i, (weight, expected) in enumerate(zip(weights, shapes, strict=True), 1):
        fit(OP, f"weight{i}", weight, expected, ("x", x), why=why)
    for name, vector, width in zip(VECTORS, vectors, (c, c, m, m, c), strict=True):
        fit(OP, name, vector, (width,), ("x", x), (torch.float32, x.dtype), why)
    if upsample_to is not None:
        _checks.tensor(OP, "upsample_to", upsample_to, ndim=4)
        _checks.same_kind(OP, ("x", x), ("upsample_to", upsample_to))
        if upsample_to.shape[:2] != x.shape[:2] or 0 in upsample_to.shape[2:]:
            raise ValueError(
                f"{OP}: upsample_to must start with N, C = {tuple(x.shape[:2])} of x and have pixels; "
                f"got shape {tuple(upsample_to.shape)}"
            )
    if torch.is_grad_enabled():
        _refuse_gradients((x, *weights, *vectors, upsample_to))


def _refuse_gradients(tensors: tuple[Tensor | None, ...]) -> None:
    names = ("x", "weight1", "weight2", "weight3", *VECTORS, "upsample_to")
    asking = [name for name, t in zip(names, tensors, strict=True) if t is not None and t.requires_grad]
    if asking:
        raise ValueError(
            f"{OP}: has no gradient; use hgfast.nn.Bottleneck to train, or torch.no_grad() "
            f"(requires_grad is set for {', '.join(asking)})"
        )


def _check_operator(x: Tensor, scale: Tensor, shift: Tensor, *rest: Tensor) -> None:
    *layers, upsample_to = rest
    _check(x, tuple(layers[::2]), (scale, shift, *layers[1::2]), upsample_to)


def _sizes(x: Tensor, weight1: Tensor, upsample_to: Tensor | None) -> BottleneckShape:
    (n, c, h, w), m = x.shape, weight1.shape[0]
    out_h, out_w = (0, 0) if upsample_to is None else upsample_to.shape[2:]
    return BottleneckShape(n, h, w, c, m, out_h, out_w, dtype=x.dtype)


def _supports(x: Tensor, scale: Tensor, shift: Tensor, weight1: Tensor, *rest: Tensor | None) -> str | None:
    upsample_to = rest[-1]
    sizes = _sizes(x, weight1, upsample_to)
    if 0 in (*x.shape, sizes.m):
        return "empty"
    if upsample_to is not None and (sizes.h, sizes.w) != tuple(-(-size // 2) for size in upsample_to.shape[2:]):
        return f"x of size {(sizes.h, sizes.w)} is not half of upsample_to's {tuple(upsample_to.shape[2:])}, rounded up"
    lib = _native.library(x.device.type)
    if lib is None or _bottleneck_native.query(lib, sizes, 1) is None:
        return "there is no kernel of the whole block for this device, dtype or these channels"
    return None


def _aligned(tensor: Tensor | None) -> Tensor | None:
    """Dense in channels_last, from a multiple of 16 bytes."""
    if tensor is None:
        return None
    tensor = tensor.contiguous(memory_format=torch.channels_last if tensor.dim() == 4 else torch.contiguous_format)
    return tensor.clone() if tensor.data_ptr() % 16 else tensor


def _kernel(lib: Library, *args: Any) -> Tensor:
    x, handle = args[0], _native.exec_handle(args[0])

    def ways(needs: BottleneckNeeds | None) -> Ways:
        own = {} if needs is None else {KERNEL: partial(_by_kernel, lib, needs, *args)}
        return {**own, CONVOLUTIONS: partial(_by_convolutions, lib, *args), TORCH: partial(_reference, *args)}

    needs, way = _first_call.block(lib, x, _sizes(x, args[3], args[-1]), handle, ways)
    return ways(needs)[way]()


def _by_convolutions(lib: Library, x: Tensor, scale: Tensor, shift: Tensor, *rest: Tensor) -> Tensor:
    """Compute by four kernels: the activation, and three convolutions, which are chosen each for itself."""
    weight1, bias1, weight2, bias2, weight3, bias3, upsample_to = rest
    x = x.contiguous(memory_format=torch.channels_last)
    zeros, ones = (constant((number,), x.device, x.shape[1]) for number in (0.0, 1.0))
    scale, shift = as_stats(x, {"scale": scale, "shift": shift})
    inner = pointwise.apply(lib, x, zeros, ones, scale, shift, None, True, 0.0)
    inner = conv_bias_act(inner, weight1, bias1.to(x.dtype))
    inner = conv_bias_act(inner, weight2, bias2.to(x.dtype))
    return conv_bias_act(inner, weight3, bias3.to(x.dtype), 1, x, False, upsample_to)


def _by_kernel(lib: Library, needs: BottleneckNeeds, x: Tensor, scale: Tensor, shift: Tensor, *rest: Tensor) -> Tensor:
    *layers, upsample_to = rest
    weights, biases = layers[::2], layers[1::2]
    sizes, handle = _sizes(x, weights[0], upsample_to), _native.exec_handle(x)
    x, upsample_to = _aligned(x), _aligned(upsample_to)  # type: ignore[assignment]
    scale, shift, *biases = (_aligned(v.float()) for v in (scale, shift, *biases))  # type: ignore[assignment]
    packed = []
    parts = zip(weights, biases, sizes.convs, needs.conv_algorithms, strict=True)
    for weight, _, conv, algorithm in parts:
        packed.append(packed_weight(lib, weight, conv, conv_query(lib, conv, handle, algorithm), handle))
    y = _empty(x, sizes)
    make = torch.zeros if _native.on_cuda(x) else torch.empty  # csrc/common/conv.h: workspace
    workspace = make(needs.workspace_bytes, dtype=torch.uint8, device=x.device)
    lib.bottleneck(
        *sizes.native(needs.algorithm), _native.ptr(x), _native.ptr(scale), _native.ptr(shift),
        _native.ptr(packed[0]), _native.ptr(biases[0]), _native.ptr(packed[1]), _native.ptr(biases[1]),
        _native.ptr(packed[2]), _native.ptr(biases[2]), _native.ptr(upsample_to), _native.out(y),
        ABSENT, ABSENT, ABSENT, _native.inout(workspace), needs.workspace_bytes, handle,
    )  # fmt: skip
    return y


def _empty(x: Tensor, sizes: BottleneckShape) -> Tensor:
    shape = (sizes.n, sizes.c, *sizes.output)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _reference(x: Tensor, *rest: Tensor) -> Tensor:
    return reference.bottleneck(x, *rest).contiguous(memory_format=torch.channels_last)


def _fake(x: Tensor, scale: Tensor, shift: Tensor, weight1: Tensor, *rest: Tensor | None) -> Tensor:
    return _empty(x, _sizes(x, weight1, rest[-1]))


_bottleneck = define(
    "bottleneck(Tensor x, Tensor scale, Tensor shift, Tensor weight1, Tensor bias1, Tensor weight2, Tensor bias2, "
    "Tensor weight3, Tensor bias3, Tensor? upsample_to) -> Tensor",
    kernel=_kernel,
    reference=_reference,
    fake=_fake,
    check=_check_operator,
    supports=_supports,
)
