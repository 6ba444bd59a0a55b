"""What torch's functions compute, from their arguments by name; None for forms that are not known."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from hgfast.graph import ops
from hgfast.graph.sizes import size_of
from hgfast.models.common import check_images

Arguments = dict[str, Any]
Found = tuple[ops.Op, Sequence[Any]] | None
"""An operation and the nodes that it reads, in its order."""


def pair(value: Any) -> Any:
    """Return two numbers from one or two; None for anything else."""
    if isinstance(value, (tuple, list)):
        return tuple(value) if len(value) == 2 and all(isinstance(v, int) for v in value) else None
    return (value, value) if isinstance(value, int) else None


def _path(node: Any) -> str | None:
    """Return the name of a parameter or buffer."""
    return str(node.target) if isinstance(node, fx.Node) and node.op == "get_attr" else None


def _weights(given: Arguments) -> tuple[str, str | None] | None:
    weight, bias = _path(given.get("weight")), _path(given.get("bias"))
    if weight is None or (bias is None and given.get("bias") is not None):
        return None
    return weight, bias


def _conv(given: Arguments) -> Found:
    names, padding = _weights(given), given.get("padding", 0)
    padding = 0 if padding == "valid" else padding
    numbers = [pair(given.get("stride", 1)), padding if padding == "same" else pair(padding)]
    numbers += [pair(given.get("dilation", 1))]
    if names is None or None in numbers:
        return None
    stride, around, dilation = numbers
    return ops.Conv(*names, stride, around, dilation, given.get("groups", 1)), [given["input"]]


def _deconv(given: Arguments) -> Found:
    names, defaults = _weights(given), {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
    numbers = [pair(given.get(name, default)) for name, default in defaults.items()]
    if names is None or None in numbers:
        return None
    stride, padding, output_padding, dilation = numbers
    return ops.Deconv(*names, stride, padding, output_padding, dilation, given.get("groups", 1)), [given["input"]]


def _batch_norm(given: Arguments) -> Found:
    weight, bias, mean, var = (_path(given.get(name)) for name in ("weight", "bias", "running_mean", "running_var"))
    lost = (given.get(name) is not None and path is None for name, path in (("weight", weight), ("bias", bias)))
    if given.get("training", False) is not False or mean is None or var is None or any(lost):
        return None
    return ops.Norm("batch", weight, bias, mean, var, given.get("eps", 1e-5), True), [given["input"]]


def _interpolate(given: Arguments) -> Found:
    mode, factor, size = given.get("mode", "nearest"), given.get("scale_factor"), given.get("size")
    if given.get("recompute_scale_factor") or given.get("antialias") or (factor is None) == (size is None):
        return None
    corners = bool(given.get("align_corners"))
    if factor is not None:
        factors = factor if isinstance(factor, (tuple, list)) else (factor, factor)
        if len(factors) != 2 or not all(isinstance(f, (int, float)) for f in factors):
            return None
        return ops.Upsample(mode, (float(factors[0]), float(factors[1])), align_corners=corners), [given["input"]]
    like = size_of(size)
    if like is not None:
        return ops.Upsample(mode, like=True, align_corners=corners), [given["input"], like]
    numbers = pair(size)
    return None if numbers is None else (ops.Upsample(mode, size=numbers, align_corners=corners), [given["input"]])


def _max_pool(given: Arguments) -> Found:
    kernel = pair(given.get("kernel_size"))
    stride = kernel if given.get("stride") in (None, [], ()) else pair(given["stride"])
    padding, dilation = pair(given.get("padding", 0)), pair(given.get("dilation", 1))
    if None in (kernel, stride, padding, dilation) or given.get("return_indices"):
        return None
    return ops.Pool("max", kernel, stride, padding, dilation, bool(given.get("ceil_mode", False))), [given["input"]]


def _average_pool(given: Arguments) -> Found:
    kernel = pair(given.get("kernel_size"))
    stride = kernel if given.get("stride") in (None, [], ()) else pair(given["stride"])
    padding, ceil_mode = pair(given.get("padding", 0)), bool(given.get("ceil_mode", False))
    if None in (kernel, stride, padding) or given.get("divisor_override") or not given.get("count_include_pad", True):
        return None
    return ops.Pool("average", kernel, stride, padding, ceil_mode=ceil_mode), [given["input"]]


def _adaptive(given: Arguments) -> Found:
    size = given.get("output_size")
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    return (ops.Pool("adaptive average", sizes), [given["input"]]) if len(sizes) == 2 else None


def _add(given: Arguments) -> Found:
    a, b = given.get("input"), given.get("other")
    for x, other in ((a, b), (b, a)):  # what `sum` begins with
        if isinstance(x, fx.Node) and not isinstance(other, fx.Node) and other == 0:
            return ops.Identity(), [x]
    if given.get("alpha", 1) != 1 or not isinstance(a, fx.Node) or not isinstance(b, fx.Node):
        return None
    return ops.Add(), [a, b]


def _cat(given: Arguments) -> Found:
    tensors, dim = given.get("tensors"), given.get("dim", 0)
    if not isinstance(tensors, (tuple, list)) or not all(isinstance(t, fx.Node) for t in tensors):
        return None
    return (ops.Concat(dim), list(tensors)) if isinstance(dim, int) else None


def _images(given: Arguments) -> Found:
    return ops.Requirement(given["unit"], given["slack"]), [given["images"]]


def _item(given: Arguments) -> Found:
    return ops.Slice(given["index"]), [given["input"]]


KNOWN: dict[Any, Callable[[Arguments], Found]] = {
    F.conv2d: _conv,
    F.conv_transpose2d: _deconv,
    F.batch_norm: _batch_norm,
    F.interpolate: _interpolate,
    F.max_pool2d: _max_pool,
    F.avg_pool2d: _average_pool,
    F.adaptive_avg_pool2d: _adaptive,
    torch.add: _add,
    torch.cat: _cat,
    torch.clone: lambda given: (ops.Identity(), [given["input"]]),
    F.dropout: lambda given: (ops.Dropout(), [given["input"]]),
    check_images: _images,
    operator.getitem: _item,
}
