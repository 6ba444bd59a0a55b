"""hgfast.graph.capture: a module as a graph of what it computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from hgfast import _checks as checks
from hgfast.graph.captured import CapturedCall, CapturedGraph, Node, Ref, Stop
from hgfast.graph.convert import convert
from hgfast.graph.leaves import is_leaf, plain_class
from hgfast.graph.ops import Input, Opaque
from hgfast.graph.skeleton import skeleton
from hgfast.graph.tracer import Stopped, Tracer, as_call, boundary, example_of, forward_of
from hgfast.graph.undisturbed import random_state, undisturbed

MOST_TRACES = 200
DIFFERENT_WAYS = "its forward takes different ways in training and in evaluation"


def capture(
    module: nn.Module, example: Any = None, training: bool | None = None, gradients: bool = True
) -> CapturedGraph:
    """Capture the graph of what a module computes, every call of torch's in its order.

    It is found by torch.fx, with torch's own layers as leaves, on a double of the module: parameters are shared, and
    nothing of the module is changed or run. Attributes and globals are taken as they are now, as are the branches that
    they decide. What a replay of torch's calls would not give exactly is one Opaque node, the call of the smallest
    module around it: modules with hooks or with a forward of the instance's own, code that decides by data or sizes,
    that changes attributes, draws random numbers in Python, asks for or switches gradients or autocast, or that calls
    functions which a trace cannot follow. `stops` says which and why, `parts` holds the graphs of their submodules.

    Args:
        module: the network.
        example: arguments of its forward, a tuple or a dict by name; only the places of tensors in their containers
            count. By default each argument without a default is one tensor, and all others have their defaults.
        training: the mode to capture; None for a graph that holds in both modes, and for modules whose ways in the two
            differ an Opaque node.
        gradients: False for a graph that is only replayed without gradients: then code may switch them off and on, and
            checkpoint its parts, for that changes no number.

    Raises:
        TypeError: module is no module, example no tuple or dict, training or gradients no bool.
    """
    checks.instance("capture", "module", module, nn.Module)
    if example is not None:
        checks.instance("capture", "example", example, tuple, dict)
    if training is not None:
        checks.flag("capture", "training", training)
    checks.flag("capture", "gradients", gradients)
    stops: dict[str, Stop] = {}
    with undisturbed():
        graph = _captured(module, example, training, gradients, stops)
        for path in stops:
            above = (path[:i] for i, letter in enumerate(path) if letter == ".")
            if not path or not stops.keys() & {"", *above}:
                _add_parts(graph, module, path, training, gradients)
    graph.training = training
    return graph


def _captured(
    module: nn.Module, example: Any, training: bool | None, gradients: bool, stops: dict[str, Stop]
) -> CapturedGraph:
    """Traces until nothing stops a trace any more."""
    reason = boundary(module) if not is_leaf(module) else None
    if reason:
        stops[""] = Stop(reason)
    for _ in range(MOST_TRACES):
        if "" in stops or is_leaf(module):
            break
        try:
            if training is not None:
                return _trace(module, example, training, gradients, stops)
            graph, other = (_trace(module, example, mode, gradients, stops) for mode in (False, True))
            differing = _first_difference(graph, other)
            if differing is None:
                return graph
            stops[differing] = Stop(DIFFERENT_WAYS)
        except Stopped as stopped:
            path = stopped.path
            while path in stops:  # it is what its caller makes of it that cannot be traced
                path = path.rpartition(".")[0]
            stops[path] = stopped.stop
    return _whole(module, example, stops)


def _trace(module: nn.Module, example: Any, training: bool, gradients: bool, stops: dict[str, Stop]) -> CapturedGraph:
    decided = set[str]()
    double, before = skeleton(module, training, plain_class, decided), random_state()
    tracer = Tracer(example, stops, gradients)
    traced = tracer.trace_network(double)
    if not _same_state(before, random_state()):
        raise Stopped(_drawer(module, example, training, gradients, stops), Stop("its forward draws random numbers"))
    graph = convert(double, traced, tracer.inputs, tracer.calls, stops)
    graph.decided = decided
    return graph


def _same_state(before: list[Any], after: list[Any]) -> bool:
    return all(
        (torch.equal(a, b) if isinstance(a, Tensor) else str(a) == str(b)) for a, b in zip(before, after, strict=True)
    )


def _drawer(module: nn.Module, example: Any, training: bool, gradients: bool, stops: dict[str, Stop]) -> str:
    """Return the innermost module in whose forward the random generators move."""
    found: list[str] = []

    class Watching(Tracer):
        def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            before = random_state()
            result = super().call_module(m, forward, args, kwargs)
            if not found and not _same_state(before, random_state()):
                found.append(self.paths[m])
            return result

    Watching(example, stops, gradients).trace_network(skeleton(module, training, plain_class, set()))
    return found[0] if found else ""


def _first_difference(a: CapturedGraph, b: CapturedGraph) -> str | None:
    """Return the innermost module around the first calls that differ in two graphs; None if none do."""
    for one, other in zip(a.nodes, b.nodes, strict=False):
        if (one.call, one.op) != (other.call, other.op):
            shared = os.path.commonprefix([one.scope.split("."), other.scope.split(".")])
            return ".".join(shared)
    return None if len(a.nodes) == len(b.nodes) and a.result == b.result else ""


def _whole(module: nn.Module, example: Any, stops: dict[str, Stop]) -> CapturedGraph:
    """Return the network as one call."""
    graph = CapturedGraph(stops=dict(stops))

    def number(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        graph.nodes.append(Node(f"input_{len(graph.nodes)}", Input(), (), CapturedCall("input", len(graph.nodes))))
        return Ref(len(graph.nodes) - 1)

    graph.inputs = tree_map(number, example_of(forward_of(module), example))
    values = tuple(range(len(graph.nodes)))
    call = CapturedCall("module", "", *as_call(forward_of(module), graph.inputs))
    graph.nodes.append(Node("", Opaque(type(module).__name__), values, call, ("",)))
    graph.result = Ref(len(values))
    return graph


def _add_parts(graph: CapturedGraph, module: nn.Module, path: str, training: bool | None, gradients: bool) -> None:
    """Add the graphs of the children of a module that is one Opaque node."""
    for name, child in children(module.get_submodule(path)):
        if not is_leaf(child) and any(True for _ in child.parameters()):
            part = capture(child, None, training, gradients)
            graph.parts[f"{path}.{name}".removeprefix(".")] = part


def children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Children that can be called, those of lists and dicts too, with their names."""
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from ((f"{name}.{inner}", part) for inner, part in children(child))
        else:
            yield name, child
