"""From a node of torch.fx to what it computes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from hgfast import reference
from hgfast.graph import ops
from hgfast.graph.known import KNOWN, Arguments, Found
from hgfast.models.common import check_images

ACTIVATIONS: dict[Any, tuple[str, tuple[str, ...]]] = {
    F.relu: ("relu", ()),
    F.relu6: ("relu6", ()),
    F.leaky_relu: ("leaky_relu", ("negative_slope",)),
    F.silu: ("silu", ()),
    F.elu: ("elu", ("alpha",)),
    F.gelu: ("gelu", ("approximate",)),
    F.hardswish: ("hardswish", ()),
    F.hardsigmoid: ("hardsigmoid", ()),
    F.mish: ("mish", ()),
    torch.sigmoid: ("sigmoid", ()),
    torch.tanh: ("tanh", ()),
}
MODULES: dict[type, Callable[..., Any]] = {
    nn.ReLU: F.relu,
    nn.ReLU6: F.relu6,
    nn.LeakyReLU: F.leaky_relu,
    nn.SiLU: F.silu,
    nn.ELU: F.elu,
    nn.GELU: F.gelu,
    nn.Hardswish: F.hardswish,
    nn.Hardsigmoid: F.hardsigmoid,
    nn.Mish: F.mish,
    nn.Sigmoid: torch.sigmoid,
    nn.Tanh: torch.tanh,
}
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{torch.relu: F.relu, torch.relu_: F.relu, F.relu_: F.relu, F.leaky_relu_: F.leaky_relu},
    **{F.sigmoid: torch.sigmoid, F.tanh: torch.tanh, torch.conv2d: F.conv2d},
    **{operator.add: torch.add, operator.iadd: torch.add, torch.concat: torch.cat, torch.concatenate: torch.cat},
    **{torch.max_pool2d: F.max_pool2d, F.upsample: F.interpolate, F.upsample_nearest: F.interpolate},
    **{torch.conv_transpose2d: F.conv_transpose2d, torch.dropout: F.dropout, F.dropout2d: F.dropout},
}
METHODS: dict[str, Callable[..., Any]] = {
    **{"relu": F.relu, "relu_": F.relu, "sigmoid": torch.sigmoid, "sigmoid_": torch.sigmoid, "tanh": torch.tanh},
    **{"tanh_": torch.tanh, "add": torch.add, "add_": torch.add, "__iadd__": torch.add, "contiguous": torch.clone},
    **{"clone": torch.clone, "leaky_relu": F.leaky_relu},
}
NAMES: dict[Any, tuple[str, ...]] = {
    F.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    F.conv_transpose2d: (*("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),),
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    F.interpolate: ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias"),
    F.max_pool2d: ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    F.avg_pool2d: (
        *("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    F.adaptive_avg_pool2d: ("input", "output_size"),
    torch.add: ("input", "other"),
    torch.cat: ("tensors", "dim"),
    torch.clone: ("input",),
    F.dropout: ("input", "p", "training", "inplace"),
    F.leaky_relu: ("input", "negative_slope", "inplace"),
    F.elu: ("input", "alpha", "inplace"),
    check_images: ("images", "unit", "slack", "weight"),
    operator.getitem: ("input", "index"),
}


def classify(root: nn.Module, node: fx.Node) -> tuple[ops.Op, list[fx.Node]]:
    """Say what a node computes, Opaque if unknown, and the nodes that it reads, those that count for it first."""
    found: Found = None
    if node.op == "call_module":
        found = _module(root.get_submodule(str(node.target)), str(node.target), node)
    elif node.op == "call_method":
        found = _function(METHODS.get(str(node.target)), node)
    elif node.op == "call_function":
        found = _function(FUNCTIONS.get(node.target, node.target), node)
    every = list(node.all_input_nodes)
    if found is None:
        return ops.Opaque(_what(root, node)), every
    op, reads = found
    return op, [*reads, *(other for other in every if other not in reads)]


def _what(root: nn.Module, node: fx.Node) -> str:
    if node.op == "call_module":
        return type(root.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))


def bound(function: Any, node: fx.Node) -> Arguments | None:
    """Return the arguments of a call by name; None where the names are not known."""
    names = NAMES.get(function, ("input",))
    if len(node.args) > len(names):
        return None
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _function(function: Any, node: fx.Node) -> Found:
    arguments = bound(function, node) if function in NAMES or function in ACTIVATIONS else None
    if arguments is None or arguments.get("out") is not None or not arguments:
        return None
    if function in ACTIVATIONS:
        return activation(function, arguments)
    return KNOWN[function](arguments) if function in KNOWN else None


def activation(function: Any, given: Arguments) -> Found:
    """Return an activation, with what it takes beside the tensor."""
    kind, names = ACTIVATIONS[function]
    if set(given) - {"input", "inplace", *names} or not isinstance(given.get("input"), fx.Node):
        return None
    return ops.Activation(kind, tuple((name, given[name]) for name in names if name in given)), [given["input"]]


def _module(module: Any, path: str, node: fx.Node) -> Found:
    """Classify a call of one of torch's own layers."""
    if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
        return None
    kind, x = type(module), node.args[0]
    given: Arguments = {"input": x} | {name: value for name, value in vars(module).items() if name[0] != "_"}
    if kind in MODULES:
        names = ACTIVATIONS[MODULES[kind]][1]
        return activation(MODULES[kind], {name: given[name] for name in ("input", *names)})
    if kind in (nn.Conv2d, nn.ConvTranspose2d):
        return _conv_module(module, path, given)
    if kind in (nn.BatchNorm2d, nn.SyncBatchNorm):
        return _norm_module(module, path, x)
    if kind in (nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm):
        return ops.Norm(kind.__name__, eps=module.eps), [x]
    if kind in (nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d):
        return KNOWN[F.interpolate]({name: given.get(name) for name in ("input", *NAMES[F.interpolate][1:6])})
    pools = {nn.MaxPool2d: F.max_pool2d, reference.MaxPool: F.max_pool2d, nn.AvgPool2d: F.avg_pool2d}
    pools[nn.AdaptiveAvgPool2d] = F.adaptive_avg_pool2d
    if kind in pools:
        return KNOWN[pools[kind]](given)
    if kind in (nn.Dropout, nn.Dropout2d, nn.Identity):
        return (ops.Identity() if kind is nn.Identity else ops.Dropout()), [x]
    return None


def _conv_module(module: Any, path: str, given: Arguments) -> Found:
    bias = None if module.bias is None else f"{path}.bias"
    padding = given["padding"]
    padding = (0, 0) if padding == "valid" else padding
    if type(module) is nn.Conv2d:
        numbers = given["stride"], padding, given["dilation"], given["groups"], given["padding_mode"]
        return ops.Conv(f"{path}.weight", bias, *numbers), [given["input"]]
    numbers = given["stride"], padding, given["output_padding"], given["dilation"], given["groups"]
    return ops.Deconv(f"{path}.weight", bias, *numbers), [given["input"]]


def _norm_module(module: Any, path: str, x: Any) -> Found:
    names = {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    paths = {key: f"{path}.{name}" if getattr(module, name) is not None else None for key, name in names.items()}
    known = module.running_mean is not None and module.running_var is not None
    return ops.Norm("batch", **paths, eps=module.eps, uses_statistics=known), [x]
