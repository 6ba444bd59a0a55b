"""From a trace of torch.fx to a captured graph."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from hgfast.graph.captured import CapturedCall, CapturedGraph, Mode, ModuleCall, Node, Ref, Stop
from hgfast.graph.classify import classify
from hgfast.graph.ops import Input, Op, Stored
from hgfast.graph.skeleton import Flag
from hgfast.graph.tracer import TracedCall

KINDS = {"placeholder": "input", "call_module": "module", "get_attr": "tensor", "call_function": "function"}


def convert(
    double: nn.Module,
    traced: fx.Graph,
    inputs: dict[str, Any],
    calls: list[TracedCall],
    stops: dict[str, Stop],
) -> CapturedGraph:
    """Return the graph.

    Args:
        double: the module that was traced.
        traced: what came of it.
        inputs: for each argument of its forward a structure with stand-ins in it.
        calls: of modules in it.
        stops: see CapturedGraph.
    """
    graph, numbers = CapturedGraph(stops=dict(stops)), dict[fx.Node, int]()
    for node in traced.nodes:
        if node.op == "output":
            graph.result = _structure(node.args[0], numbers)
            continue
        op, reads = _operation(double, node)
        target = len(graph.nodes) if node.op == "placeholder" else node.target
        arguments = (_structure(given, numbers) for given in (node.args, node.kwargs))
        call = CapturedCall(KINDS.get(node.op, "method"), target, *(() if node.op == "placeholder" else arguments))
        numbers[node] = len(graph.nodes)
        modules, scope = _modules(double, node, op), node.meta["scope"]
        graph.nodes.append(Node(_name(node), op, tuple(numbers[n] for n in reads), call, modules, scope))
        if node.op == "get_attr" and str(node.target).startswith("_tensor_constant"):
            graph.constants[str(node.target)] = getattr(double, str(node.target))
    graph.inputs = {name: _structure(given, numbers) for name, given in inputs.items()}
    for traced_call in calls:
        structures = traced_call.args, traced_call.kwargs, traced_call.result
        places = traced_call.path, traced_call.parent, traced_call.first, traced_call.last
        graph.calls.append(ModuleCall(*places, *(_structure(item, numbers) for item in structures)))
    return graph


def _operation(double: nn.Module, node: fx.Node) -> tuple[Op, list[fx.Node]]:
    if node.op in ("placeholder", "get_attr"):
        return (Input() if node.op == "placeholder" else Stored()), []
    return classify(double, node)


def _structure(item: Any, numbers: dict[fx.Node, int]) -> Any:
    """Containers with Ref in place of nodes and stand-ins, Mode in place of training flags."""
    if isinstance(item, fx.Proxy):
        return Ref(numbers[item.node])
    if isinstance(item, fx.Node):
        return Ref(numbers[item])
    if isinstance(item, Flag):
        return Mode(item.path)
    if isinstance(item, slice):
        return slice(*(_structure(part, numbers) for part in (item.start, item.stop, item.step)))
    if isinstance(item, dict):
        return {key: _structure(part, numbers) for key, part in item.items()}
    if isinstance(item, tuple):
        parts = [_structure(part, numbers) for part in item]
        return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
    return [_structure(part, numbers) for part in item] if isinstance(item, list) else item


def _name(node: fx.Node) -> str:
    if node.op in ("call_module", "get_attr"):
        return str(node.target)
    if node.op == "placeholder":
        return node.name
    called = str(getattr(node.target, "__name__", node.target)).strip("_")
    return f"{node.meta['scope']}.{called}".removeprefix(".")


def _modules(double: nn.Module, node: fx.Node, op: Op) -> tuple[str, ...]:
    """Owners of the parameters and buffers that a call uses itself or is given."""
    if node.op == "get_attr":
        return (str(node.target).rpartition(".")[0],)
    if node.op == "call_module":
        return (str(node.target),)
    given = (n for n in node.all_input_nodes if n.op == "get_attr")
    return tuple(dict.fromkeys(str(n.target).rpartition(".")[0] for n in given))
