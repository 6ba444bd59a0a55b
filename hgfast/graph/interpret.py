"""A captured graph run by torch, call by call as the module runs it: the oracle of everything made from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from hgfast.graph.captured import CapturedCall, CapturedGraph, Node, Ref, refs, replaced, tensor_at
from hgfast.graph.tracer import forward_of

See = Callable[[int, Node, Any], None]


class Interpreter:
    """Runs the graph of a module on that module, whose parameters, statistics and modes are taken as they are now."""

    def __init__(self, module: nn.Module, graph: CapturedGraph) -> None:
        """graph: captured from this module, or from one of the same structure."""
        self.module, self.graph = module, graph
        last = {value: i for i, node in enumerate(graph.nodes) for value in (i, *node.inputs)}
        kept = set(refs(graph.result))
        self._ends: dict[int, list[int]] = {}
        for value, i in last.items():
            if value not in kept:
                self._ends.setdefault(i, []).append(value)

    def __call__(self, *args: Any, see: See | None = None, **kwargs: Any) -> Any:
        """Compute what the module gives for these arguments.

        Args:
            args: as the module takes them, tensors inside the containers that it was captured with.
            see: called with the number, the node and the value of each node when it has run.
            kwargs: the rest of them.
        """
        forward = forward_of(self.module)
        given = dict(list(inspect.signature(forward).bind_partial(None, *args, **kwargs).arguments.items())[1:])
        if set(given) != set(self.graph.inputs):
            raise TypeError(f"the graph takes the arguments {', '.join(self.graph.inputs)}; got {', '.join(given)}")
        values: dict[int, Any] = {}
        for name, structure in self.graph.inputs.items():
            for part, leaf in zip(tree_leaves(structure), tree_leaves(given[name]), strict=True):
                if isinstance(part, Ref):
                    values[part.value] = leaf
        return self.evaluate(values, see)

    def evaluate(self, values: dict[int, Any], see: See | None = None) -> Any:
        """Compute the same; values: those of the inputs, by the numbers of their nodes."""
        for i, node in enumerate(self.graph.nodes):
            if node.call.kind != "input":
                values[i] = self.run(node.call, values)
            if see is not None:
                see(i, node, values[i])
            for value in self._ends.get(i, ()):
                del values[value]
        return replaced(self.graph.result, lambda ref: values[ref.value])

    def run(self, call: CapturedCall, values: dict[int, Any]) -> Any:
        """Compute the value of one call."""
        return evaluate(call, values, self.module, self.graph.constants)


def evaluate(call: CapturedCall, values: dict[int, Any], module: nn.Module, constants: dict[str, Tensor]) -> Any:
    """Compute the value of one call of a module's graph, from the values so far."""

    def now(item: Any) -> Any:
        return values[item.value] if isinstance(item, Ref) else module.get_submodule(item.path).training

    if call.kind == "tensor":
        return tensor_at(module, constants, str(call.target))
    args, kwargs = replaced(call.args, now), replaced(call.kwargs, now)
    if call.kind == "module":
        return module.get_submodule(str(call.target))(*args, **kwargs)
    if call.kind == "method":
        return getattr(args[0], str(call.target))(*args[1:], **kwargs)
    assert callable(call.target)
    return call.target(*args, **kwargs)
