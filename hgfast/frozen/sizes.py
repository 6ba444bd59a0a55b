"""Which image sizes a frozen graph takes."""

from __future__ import annotations

from math import lcm

from hgfast.frozen.graph import IMAGE, BottleneckCall, ConvCall, Graph, PointwiseCall, PoolCall, Value
from hgfast.frozen.torch_call import TorchCall
from hgfast.graph.ops import Requirement


def set_sizes(graph: Graph, requirement: Requirement | None) -> None:
    """Say in a graph which sizes it takes: unit and slack, or any_size.

    Height and width must be m * unit - s with s <= slack: then each size halves as the calls take for granted.

    A value that is `scale` times smaller than the image has ceil(size / scale) rows. Pools need an even number of them,
    and what is merged must be twice as large as what is added to it. What torch's calls make of sizes is not known
    here; a plan checks it.

    Args:
        graph: lowered from a network.
        requirement: what the network asks for itself, if it does.
    """
    found = (requirement.unit, requirement.slack) if requirement is not None else _unit_and_slack(graph)
    graph.any_size = found is None
    graph.unit, graph.slack = found or (1, 0)


def _stride(call: ConvCall | PoolCall | PointwiseCall | TorchCall) -> int:
    if isinstance(call, PoolCall):
        return 2
    return 1 if isinstance(call, PointwiseCall) else call.stride


def _unit_and_slack(graph: Graph) -> tuple[int, int] | None:
    scales: dict[Value, int] = {IMAGE: 1}
    even: set[int] = set()  # scales at which there must be an even number of rows and columns
    for call in graph.calls:
        assert not isinstance(call, BottleneckCall)
        source = call.like if isinstance(call, TorchCall) else call.x
        if source not in scales:
            if isinstance(call, TorchCall):
                continue
            return None
        scale = scales[source] * _stride(call)
        if isinstance(call, ConvCall) and call.upsample_to is not None:
            scale = scales.get(call.upsample_to, 0)
            even |= {scale} if call.output in graph.exact else set()
        elif isinstance(call, PoolCall):
            even.add(scale // 2)
        scales[call.output] = scale
        if call.second is not None:
            scales[call.second.value] = scale
    if even and not graph.exact or 0 in scales.values():
        return None
    unit = lcm(*scales.values(), *(2 * scale for scale in even))
    return unit, min(even, default=unit) - 1
