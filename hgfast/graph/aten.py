"""Operators of ATen, as torch.export finds them, in torch's functions that are known here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

ATEN = torch.ops.aten
Given = dict[str, Any]
Made = tuple[str, Any, tuple[Any, ...], Given]
"""Kind of an fx node, its target, args and kwargs."""


def _call(function: Any, *args: Any, **kwargs: Any) -> Made:
    return "call_function", function, args, kwargs


def _conv(a: Given) -> Made:
    return _call(F.conv2d, *(a[n] for n in ("input", "weight", "bias", "stride", "padding", "dilation", "groups")))


def _deconv(a: Given) -> Made:
    names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
    return _call(F.conv_transpose2d, *(a[name] for name in names))


def _batch_norm(a: Given) -> Made:
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    return _call(F.batch_norm, *(a[name] for name in names))


def _add(a: Given) -> Made | None:
    return _call(torch.add, a["self"], a["other"]) if a["alpha"] == 1 else None


def _add_in_place(a: Given) -> Made | None:
    return ("call_method", "add_", (a["self"], a["other"]), {}) if a["alpha"] == 1 else None


def _max_pool(a: Given) -> Made:
    names = ("self", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    return _call(F.max_pool2d, *(a[name] for name in names))


def _average_pool(a: Given) -> Made:
    names = ("self", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    return _call(F.avg_pool2d, *(a[name] for name in names))


def _upsample(mode: str) -> Callable[[Given], Made]:
    def made(a: Given) -> Made:
        corners = {"align_corners": a["align_corners"]} if mode == "bilinear" else {}
        sizes = {"size": a["output_size"], "scale_factor": a["scale_factors"]}
        return _call(F.interpolate, a["input"], **sizes, mode=mode, **corners)

    return made


RULES: dict[Any, Callable[[Given], Made | None]] = {
    ATEN.conv2d.default: _conv,
    ATEN.conv2d.padding: _conv,
    ATEN.conv_transpose2d.input: _deconv,
    ATEN.batch_norm.default: _batch_norm,
    ATEN.add.Tensor: _add,
    ATEN.add_.Tensor: _add_in_place,
    ATEN.relu.default: lambda a: _call(F.relu, a["self"]),
    ATEN.relu_.default: lambda a: _call(F.relu, a["self"], inplace=True),
    ATEN.sigmoid.default: lambda a: _call(torch.sigmoid, a["self"]),
    ATEN.silu.default: lambda a: _call(F.silu, a["self"]),
    ATEN.cat.default: lambda a: _call(torch.cat, a["tensors"], a["dim"]),
    ATEN.clone.default: lambda a: _call(torch.clone, a["self"]) if a["memory_format"] is None else None,
    ATEN.max_pool2d.default: _max_pool,
    ATEN.avg_pool2d.default: _average_pool,
    ATEN.adaptive_avg_pool2d.default: lambda a: _call(F.adaptive_avg_pool2d, a["self"], tuple(a["output_size"])),
    ATEN.upsample_nearest2d.vec: _upsample("nearest"),
    ATEN.upsample_bilinear2d.vec: _upsample("bilinear"),
    ATEN.dropout.default: lambda a: _call(F.dropout, a["input"], a["p"], a["train"]),
    ATEN.sym_size.int: lambda a: ("call_method", "size", (a["self"], a["dim"]), {}),
    ATEN.permute.default: lambda a: ("call_method", "permute", (a["self"], *a["dims"]), {}),
}


def as_torch(node: fx.Node, args: Any, kwargs: Any) -> Made:
    """Return what is called, with these arguments in the place of the node's own."""
    rule = RULES.get(node.target)
    made = None
    if rule is not None:
        made = rule(_by_name(node.target, args, kwargs))
    return made or (node.op, node.target, args, kwargs)


def _by_name(op: Any, args: Any, kwargs: Any) -> Given:
    schema = op._schema.arguments
    given = {argument.name: argument.default_value for argument in schema}
    return given | dict(zip((argument.name for argument in schema), args, strict=False)) | dict(kwargs)


def trains(node: fx.Node) -> bool:
    """Whether a call does something else in training than in evaluation, and is for training."""
    if node.target not in (ATEN.batch_norm.default, ATEN.dropout.default, ATEN.dropout_.default):
        return False
    given = _by_name(node.target, node.args, node.kwargs)
    return bool(given.get("training", given.get("train")))
