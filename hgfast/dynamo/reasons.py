"""Why a graph of torch.compile's is none for the kernels of inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from hgfast.frozen.options import DTYPES
from hgfast.graph.classify import FUNCTIONS, bound

SWITCH = torch._C._set_grad_enabled
RANDOM = (F.dropout, F.alpha_dropout, F.feature_alpha_dropout, F.dropout1d, F.dropout2d, F.dropout3d)


def reason_against(graph_module: fx.GraphModule, values: Sequence[Any]) -> str:
    """Return the reason; nothing if there is none.

    Args:
        graph_module: torch's functions.
        values: what it is given.
    """
    tensors = [value for value in values if isinstance(value, Tensor)]
    kinds = {tensor.device for tensor in tensors if tensor.dim()}
    if len(kinds) != 1 or next(iter(kinds)).type not in ("cpu", "cuda"):
        return "its tensors are on other devices, or on several"
    device = next(iter(kinds)).type
    if torch.is_autocast_enabled(device):
        return "autocast is on"
    if any(type(tensor) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer) for tensor in tensors):
        return "it takes tensors of other classes"
    if not any(tensor.dim() == 4 and tensor.dtype in _dtypes(device) for tensor in tensors):
        return "it takes no maps of a dtype that there are kernels for"
    asks = any(tensor.requires_grad for tensor in tensors)
    return _in_graph(graph_module.graph, asks)


def _dtypes(device: str) -> tuple[torch.dtype, ...]:
    return DTYPES if device == "cuda" else DTYPES[:1]


def _in_graph(graph: fx.Graph, asks: bool) -> str:
    """asks: whether something that it is given wants a gradient."""
    on = before = torch.is_grad_enabled()
    convolutions = False
    for node in graph.nodes:
        if node.target is SWITCH:
            on = bool(node.args[0])
        elif node.op in ("call_function", "call_method"):
            if on and asks:
                return "gradients are asked for"
            reason = _in_call(node)
            if reason:
                return reason
            convolutions |= FUNCTIONS.get(node.target, node.target) in (F.conv2d, F.conv_transpose2d)
    if on != before:
        return "it switches gradients on or off"
    return "" if convolutions else "it has no convolution"


def _in_call(node: fx.Node) -> str:
    name = str(getattr(node.target, "__name__", node.target))
    if name.startswith(("_enter_", "_exit_")) or "requires_grad" in (name.strip("_"), *node.kwargs):
        return "it switches gradients, autocast or inference on or off"
    function = FUNCTIONS.get(node.target, node.target)
    given: dict[str, Any] = (bound(function, node) if node.op == "call_function" else None) or {}
    if function is F.batch_norm and given.get("training", False) is not False:
        return "a BatchNorm is in training"
    if function is F.instance_norm and any(
        part is not None for part in (*node.args[1:3], node.kwargs.get("running_mean"))
    ):
        return "an InstanceNorm has statistics"
    if function in RANDOM and given.get("training", True) is not False:
        return "it drops out at random"
    return ""
