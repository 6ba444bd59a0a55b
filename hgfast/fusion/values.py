"""Which value each call of a captured graph reads, now that calls that write in place make values of their own.

A ReLU in place is a ReLU: what is read behind it is its result. That holds where the memory that it writes into is
known to be nobody else's. Any other write stays torch's, and is a border that no fused operation crosses.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from hgfast.graph import ops
from hgfast.graph.captured import CapturedCall, CapturedGraph, Node, Ref, replaced

PURE = (ops.Conv, ops.Deconv, ops.Norm, ops.Add, ops.Upsample, ops.Pool, ops.Concat, ops.Activation)
"""What writes its result into new memory, unless it is told to write in place."""
IN_PLACE = {
    *(operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.ipow),
    *(operator.setitem, operator.iand, operator.ior, operator.ixor, operator.imod, operator.imatmul),
}
READERS = ("torch", "_operator", "math", "builtins", "hgfast")  # whose functions write only where their names say so


@dataclass
class Values:
    """The values of a graph.

    Attributes:
        reads: for each node the values that it reads, as `Node.inputs`.
        calls: for each node its call, with these values.
        readers: for each value the nodes that read it, one for each time.
        results: values that the network gives.
        given, given_back: for each module call the structures that it is given and gives, by values.
        borders: nodes that write into memory that others may read.
        writes: nodes that write in place and count as functions -> the value that they write into.
        fresh: values in memory that is nobody else's.
    """

    reads: list[tuple[int, ...]] = field(default_factory=list)
    calls: list[CapturedCall] = field(default_factory=list)
    readers: dict[int, list[int]] = field(default_factory=dict)
    results: Any = None
    given: list[Any] = field(default_factory=list)
    given_back: list[Any] = field(default_factory=list)
    borders: list[int] = field(default_factory=list)
    writes: dict[int, int] = field(default_factory=dict)
    fresh: set[int] = field(default_factory=set)

    def stays(self, value: int) -> bool:
        """Whether nothing writes into a value, so that it can be kept for a gradient."""
        return not self.borders or value in self.fresh

    def span(self, node: int) -> int:
        """Return the number of the stretch between borders that a node lies in."""
        return 2 * sum(border < node for border in self.borders) + (node in self.borders)


def values_of(module: nn.Module, graph: CapturedGraph, regions: list[int]) -> Values:
    """Return the values of a graph that was captured from the module.

    regions: for each node the number of the region that it is in; what is written in another one counts as written.
    """
    values, now = Values(), dict[int, int]()
    fresh = values.fresh
    begins, ends = _events(graph)

    def current(structure: Any) -> Any:
        return replaced(structure, lambda item: Ref(now.get(item.value, item.value)) if isinstance(item, Ref) else item)

    values.given, values.given_back = [None] * len(graph.calls), [None] * len(graph.calls)
    for i, node in enumerate([*graph.nodes, None]):
        for call in ends.get(i, ()):
            values.given_back[call] = current(graph.calls[call].result)
        for call in begins.get(i, ()):
            values.given[call] = current((graph.calls[call].args, graph.calls[call].kwargs))
            if graph.calls[call].last == i:
                values.given_back[call] = current(graph.calls[call].result)
        if node is None:
            break
        values.reads.append(tuple(now.get(value, value) for value in node.inputs))
        values.calls.append(replace(node.call, args=current(node.call.args), kwargs=current(node.call.kwargs)))
        if isinstance(node.op, ops.Identity) and node.call.kind == "module":  # torch's gives the very tensor
            now[i] = values.reads[i][0]
            continue
        for value in values.reads[i]:
            values.readers.setdefault(value, []).append(i)
        if not _writes(module, node):
            if isinstance(node.op, PURE):
                fresh.add(i)
        elif _counts_as_function(i, values, graph, fresh, regions):
            values.writes[i] = values.reads[i][0]
            now |= {value: i for value in (values.reads[i][0], *_now_at(now, values.reads[i][0]))}
            fresh.add(i)
        else:
            values.borders.append(i)
            fresh.difference_update(values.reads[i])  # what it gives may be the very tensor
    values.results = current(graph.result)
    return values


def _events(graph: CapturedGraph) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return the calls of modules by the node before which they begin and end; those without nodes only begin."""
    begins, ends = dict[int, list[int]](), dict[int, list[int]]()
    for number, call in enumerate(graph.calls):
        begins.setdefault(call.first, []).append(number)
        if call.last > call.first:
            ends.setdefault(call.last, []).append(number)
    return begins, ends


def _now_at(now: dict[int, int], value: int) -> Iterator[int]:
    return (old for old, current in now.items() if current == value)


def _counts_as_function(node: int, values: Values, graph: CapturedGraph, fresh: set[int], regions: list[int]) -> bool:
    """Whether a write in place is one of those that are known, into memory that nothing else shares."""
    op, target = graph.nodes[node].op, values.reads[node][0] if values.reads[node] else -1
    known = isinstance(op, ops.Activation) or (isinstance(op, ops.Add) and target not in values.reads[node][1:])
    others = (reader for reader in values.readers.get(target, ()) if reader != node)
    return (
        known
        and target in fresh
        and regions[target] == regions[node]
        and all(isinstance(graph.nodes[reader].op, PURE) for reader in others)
    )


def _writes(module: nn.Module, node: Node) -> bool:
    """Whether a call may write into one of its arguments."""
    call = node.call
    if call.kind in ("input", "tensor"):
        return False
    if call.kind == "module":
        layer = module.get_submodule(str(call.target))
        of_torch = type(layer).__module__.startswith("torch.nn.") or isinstance(node.op, PURE)
        return not of_torch or bool(getattr(layer, "inplace", False))
    if call.kwargs.get("out") is not None or call.kwargs.get("inplace") or any(arg is True for arg in call.args):
        return True  # `inplace` may come by its place; other flags that are true cost nothing but a border
    name = call.target if call.kind == "method" else getattr(call.target, "__name__", "_")
    home = "torch" if call.kind == "method" else (getattr(call.target, "__module__", None) or "torch").partition(".")[0]
    marked = str(name).endswith("_") and not str(name).endswith("__")
    augmented = str(name).startswith("__i") and name not in ("__invert__", "__index__", "__int__")
    return call.target in IN_PLACE or marked or augmented or home not in READERS or name == "__setitem__"
