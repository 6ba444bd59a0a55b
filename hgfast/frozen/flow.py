"""A captured graph made ready to be lowered: what was seen in a run of it, no writing in place, nothing in vain."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from hgfast.graph.captured import CapturedCall, CapturedGraph, Node, Ref, Value, refs, replaced
from hgfast.graph.interpret import Interpreter

View = tuple[int, int, tuple[int, ...], tuple[int, ...]]


class Tangled(ValueError):
    """Something is written in place that is seen through other views afterwards."""


@dataclass
class Flow:
    """The nodes that count, by their numbers in the captured graph and in its order.

    Attributes:
        nodes: calls and inputs read the values that they find, whoever wrote them in place.
        shapes: of each tensor of the images' dtype that was seen; of those (N, C, H, W) if there are as many as images.
        written: by node, the values that its call writes in place; nobody reads them afterwards.
        result: what the network gives.
        uses: how often each value is read, in the result too.
        given: the tensors in the result, by their nodes.
    """

    nodes: dict[Value, Node] = field(default_factory=dict)
    shapes: dict[Value, tuple[int, ...]] = field(default_factory=dict)
    written: dict[Value, tuple[Value, ...]] = field(default_factory=dict)
    result: Any = None
    uses: Counter[Value] = field(default_factory=Counter)
    given: dict[Value, Tensor] = field(default_factory=dict)

    def reader(self, value: Value) -> Value | None:
        """Return the node that reads a value, if it is the only one and the value is no result."""
        if self.uses[value] != 1:
            return None
        return next((number for number, node in self.nodes.items() if value in node.inputs), None)


class _Observer(Interpreter):
    """Runs a graph and follows what is written in place."""

    def __init__(self, module: nn.Module, graph: CapturedGraph, images: Tensor) -> None:
        super().__init__(module, graph)
        self.dtype, self.batch = images.dtype, len(images)
        self.flow, self.now, self.index = Flow(), dict[Value, Value](), -1
        self.tensors: dict[Value, Tensor] = {}
        self.forbidden: dict[Value, str] = {}  # values that must not be read any more

    def run(self, call: CapturedCall, values: dict[int, Any]) -> Any:
        """Note the value of a call, and return it."""
        self.index = next(i for i in range(self.index + 1, len(self.graph.nodes)) if self.graph.nodes[i].call is call)
        node = self._resolved(self.graph.nodes[self.index])
        before = {value: self._versions(values[value]) for value in refs((call.args, call.kwargs))}
        result = super().run(call, values)
        self.flow.nodes[self.index] = node
        written = [value for value, then in before.items() if self._versions(values[value]) != then]
        self.note(self.index, result)
        if written:
            self._write(written, values, result)
        return result

    def note(self, index: int, result: Any) -> None:
        """Note a value that was made."""
        if not isinstance(result, Tensor):
            return
        self.tensors[index] = result
        if result.dtype == self.dtype and (result.dim() != 4 or len(result) == self.batch):
            self.flow.shapes[index] = tuple(result.shape)

    def find(self, item: Ref) -> Ref:
        """Return what is to be read now for a value."""
        value = item.value
        while value in self.now:
            value = self.now[value]
        if value in self.forbidden:
            raise Tangled(f"{self.forbidden[value]} writes into a tensor that is read later through another view of it")
        return Ref(value)

    def _resolved(self, node: Node) -> Node:
        def change(item: Any) -> Any:
            return self.find(item) if isinstance(item, Ref) else item

        call = replace(node.call, args=replaced(node.call.args, change), kwargs=replaced(node.call.kwargs, change))
        return replace(node, inputs=tuple(self.find(Ref(value)).value for value in node.inputs), call=call)

    def _versions(self, value: Any) -> list[int]:
        return [leaf._version for leaf in tree_leaves(value) if isinstance(leaf, Tensor) and not leaf.is_inference()]

    def _write(self, written: list[Value], values: dict[int, Any], result: Any) -> None:
        """Make values of the same memory and view the result of the call from now on; others must not be read."""
        i, name = self.index, self.graph.nodes[self.index].name
        self.flow.written[i] = tuple({self.find(Ref(value)).value for value in written})
        for value in written:
            storage = {_storage(leaf) for leaf in tree_leaves(values[value])}
            for other, tensor in list(self.tensors.items()):
                if other == i or _storage(tensor) not in storage:
                    continue
                last = self.find(Ref(other)).value if other not in self.forbidden else other
                if isinstance(result, Tensor) and _view(tensor) == _view(result):
                    if last != i:
                        self.now[last] = i
                else:
                    self.forbidden[last] = name


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # on the meta device all have the same address


def _view(tensor: Tensor) -> View:
    return _storage(tensor), int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()


@torch.no_grad()
def observe(module: nn.Module, graph: CapturedGraph, given: dict[Value, Tensor], images: Value) -> Flow:
    """Run a graph and note what is there.

    Args:
        module: whose parameters it has.
        graph: captured from it.
        given: the inputs by the numbers of their nodes; what the graph writes into it writes into these.
        images: the number of the input whose batch and dtype those of maps are.

    Raises:
        Tangled: it cannot be said without writing in place.
    """
    observer = _Observer(module, graph, given[images])
    for i, node in enumerate(graph.nodes):
        if node.call.kind == "input":
            observer.flow.nodes[i] = node
    for value, tensor in given.items():
        observer.note(value, tensor)
    observer.evaluate(dict(given))
    flow = observer.flow
    flow.result = replaced(graph.result, observer.find)
    flow.given = {value: observer.tensors[value] for value in refs(flow.result) if value in observer.tensors}
    _drop_unused(flow)
    return flow


def _drop_unused(flow: Flow) -> None:
    """Leaves the nodes that the result depends on; assertions, which give nothing, go."""
    needed, pending = set[Value](), list(refs(flow.result))
    while pending:
        value = pending.pop()
        if value not in needed:
            needed.add(value)
            pending += flow.nodes[value].inputs
    flow.nodes = {value: flow.nodes[value] for value in sorted(flow.nodes) if value in needed}
    flow.uses = Counter(value for node in flow.nodes.values() for value in node.inputs)
    flow.uses.update(refs(flow.result))
