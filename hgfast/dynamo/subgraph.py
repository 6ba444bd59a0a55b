"""A graph of torch.compile's as a captured graph: parameters by name, sizes as numbers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional as F

from hgfast.dynamo.reasons import SWITCH
from hgfast.graph.captured import CapturedGraph
from hgfast.graph.classify import FUNCTIONS
from hgfast.graph.convert import convert

FOLDED = (F.conv2d, F.conv_transpose2d, F.batch_norm)
"""Functions whose parameters, but for the first, kernels have in a form of their own."""


def is_weight(node: fx.Node, value: Any) -> bool:
    """Whether an input of a graph is a parameter or buffer that is read by FOLDED alone; `value`: what is given."""
    lasting = isinstance(value, nn.Parameter) or getattr(value, "_dynamo_static_input_type", None) is not None
    if not isinstance(value, Tensor) or not lasting or not node.users:
        return False
    return all(
        user.op == "call_function"
        and FUNCTIONS.get(user.target, user.target) in FOLDED
        and node not in (*user.args[:1], user.kwargs.get("input"))
        for user in node.users
    )


def is_number(node: fx.Node, value: Any) -> bool:
    """Whether an input of a graph is a tensor that the graph only takes a number from, as it does for dynamic sizes."""
    read = all(user.op == "call_method" and user.target == "item" for user in node.users)
    return isinstance(value, Tensor) and value.dim() == 0 and bool(node.users) and read


@dataclass
class Subgraph:
    """What is captured, for inputs of certain sizes.

    Attributes:
        root: has the parameters under their names in the graph, once they are put there.
        names: those names, in the order of the weights.
        captured: the graph.
        inputs: numbers of the nodes of its other tensors, in their order.
    """

    root: nn.Module
    names: list[str]
    captured: CapturedGraph
    inputs: list[int]

    def put(self, weights: Sequence[Tensor | None]) -> None:
        """Give the root these weights."""
        self.root.__dict__.update(zip(self.names, weights, strict=True))


def capture(graph_module: fx.GraphModule, weights: Sequence[int], values: Sequence[Any]) -> Subgraph:
    """Return a graph for such inputs.

    Args:
        graph_module: torch's functions.
        weights: which of its inputs are weights.
        values: what it is given: tensors and numbers, which become part of the graph.
    """
    root, graph, env = nn.Module(), fx.Graph(), dict[fx.Node, Any]()
    names, given = {i: f"weight_{i}" for i in weights}, iter(enumerate(values))

    def now(item: Any) -> Any:
        return env[item] if isinstance(item, fx.Node) else item

    for node in graph_module.graph.nodes:
        args, kwargs = map_aggregate((node.args, node.kwargs), now)  # type: ignore[misc]
        if node.op == "placeholder":
            i, value = next(given)
            if not isinstance(value, Tensor):
                env[node] = value
            else:
                env[node] = graph.get_attr(names[i]) if i in names else graph.placeholder(node.name)
        elif node.op == "get_attr":
            root.__dict__[str(node.target)] = getattr(graph_module, str(node.target))
            env[node] = graph.get_attr(str(node.target))
        elif node.op == "call_method" and not isinstance(args[0], fx.Node):
            env[node] = args[0]  # the item of a number
        elif _gives_number(node, args, kwargs):
            env[node] = node.target(*args, **kwargs)
        elif node.target is not SWITCH:
            env[node] = graph.create_node(node.op, node.target, args, kwargs, node.name)
    for node in graph.nodes:
        node.meta["scope"] = ""
    captured = convert(root, graph, {}, [], {})
    inputs = [i for i, node in enumerate(captured.nodes) if node.call.kind == "input"]
    return Subgraph(root, list(names.values()), captured, inputs)


def _gives_number(node: fx.Node, args: Any, kwargs: Any) -> bool:
    """Whether a call makes a number or a size of such ones."""
    home = getattr(node.target, "__module__", "")
    arithmetic = node.target is torch.Size or home in (operator.__name__, "_operator", "math")
    found: list[fx.Node] = []
    map_aggregate((args, kwargs), lambda item: found.append(item) if isinstance(item, fx.Node) else item)
    return node.op == "call_function" and arithmetic and not found
