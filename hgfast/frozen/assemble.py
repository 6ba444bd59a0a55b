"""From the nodes that count to the graph of a frozen network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from hgfast.frozen.emit import Emitter
from hgfast.frozen.flow import Flow
from hgfast.frozen.graph import IMAGE, Graph, Value
from hgfast.frozen.lower import Lowering
from hgfast.frozen.sizes import set_sizes
from hgfast.frozen.torch_call import TorchCall
from hgfast.graph.captured import CapturedCall, CapturedGraph, Ref, replaced
from hgfast.graph.ops import Requirement


def assemble(
    module: nn.Module,
    captured: CapturedGraph,
    flow: Flow,
    image: int,
    others: list[int],
    channels: int,
    result: Any,
    requirement: Requirement | None = None,
) -> Graph:
    """Return the graph, which holds copies of the module's parameters.

    Args:
        module: has the parameters.
        captured, flow: what it computes.
        image, others: nodes of the inputs.
        channels: of the image.
        result: what the network gives, with Ref of nodes in it.
        requirement: what it asks of the image's size.
    """
    graph = Graph(1, 0, channels)
    graph.others = [graph.new_value() for _ in others]
    emitter = Emitter(graph)
    lowering = Lowering(module, captured, flow, emitter)
    lowering.run({image: IMAGE, **dict(zip(others, graph.others, strict=True))})
    output = _outputs(graph, lowering, emitter)
    graph.result = replaced(result, lambda ref: Ref(output(ref.value)))
    given = {IMAGE, *graph.others}
    graph.nodes = {value: node for node, value in sorted(lowering.made.items()) if value not in given}  # the last one
    emitter.finish()
    set_sizes(graph, requirement)
    return graph


def _outputs(graph: Graph, lowering: Lowering, emitter: Emitter) -> Callable[[int], int]:
    """Return a function that gives the place in the graph's outputs of the value of a node."""
    copies: dict[Value, Value] = {}

    def output(node: int) -> int:
        value = lowering.value(node) if node not in lowering.made else lowering.made[node]
        if value in (IMAGE, *graph.others):
            if value not in copies:
                clone = TorchCall(
                    "input", graph.new_value(), CapturedCall("method", "clone", (Ref(value),)), what="clone"
                )
                copies[value] = emitter.add(node, clone)
            value = copies[value]
        if value not in graph.outputs:
            graph.outputs.append(value)
        return graph.outputs.index(value)

    return output
