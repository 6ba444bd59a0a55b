"""Finds the pre-activation bottlenecks of a graph and puts one call in the place of their three convolutions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from hgfast.frozen.graph import BottleneckCall, Call, ConvCall, Graph, Second, Value


def _is_plain(call: Call, kernel: int, relu: bool) -> bool:
    """Return whether a convolution has stride 1 and nothing but a bias and, or no, ReLU."""
    if not isinstance(call, ConvCall) or call.weight.shape[2] != kernel or call.stride != 1:
        return False
    return call.relu == relu and call.extra is None


def _match(
    calls: list[Call], seconds: dict[Value, tuple[Value, Second]], uses: Counter[Value]
) -> BottleneckCall | None:
    """Return the block whose three convolutions these calls are, if they are."""
    first, middle, last = calls
    if not (_is_plain(first, 1, True) and _is_plain(middle, 3, True) and _is_plain(last, 1, False)):
        return None
    assert isinstance(first, ConvCall) and isinstance(middle, ConvCall) and isinstance(last, ConvCall)
    if first.x not in seconds or middle.x != first.output or last.x != middle.output:
        return None
    x, second = seconds[first.x]
    alone = all(uses[value] == 1 for value in (first.x, first.output, middle.output))
    bare = all(c.residual is None and c.upsample_to is None and c.second is None for c in (first, middle))
    if not alone or not bare or last.residual != x:
        return None
    name = last.name.rsplit(".", 1)[0]
    convs = first, middle, last
    return BottleneckCall(name, last.output, x, second.scale, second.shift, convs, last.upsample_to, last.second)


def fuse_bottlenecks(graph: Graph, take: Callable[[BottleneckCall], bool]) -> Graph:
    """Return a graph with one call for each bottleneck that `take` wants, whose BatchNorm-ReLU is not written.

    The values keep their numbers, those inside the blocks are no longer made.
    """
    seconds = {call.second.value: (call.output, call.second) for call in graph.calls if call.second is not None}
    uses = Counter(value for call in graph.calls for value in call.inputs())
    uses.update(graph.outputs)
    calls: list[Call] = []
    dropped: set[Value] = set()
    index = 0
    while index < len(graph.calls):
        three = graph.calls[index : index + 3]
        block = _match(three, seconds, uses) if len(three) == 3 else None
        if block is not None and take(block):
            calls.append(block)
            dropped.add(block.convs[0].x)
            index += 3
        else:
            calls.append(graph.calls[index])
            index += 1
    return replace(graph, calls=[_without_second(call, dropped) for call in calls])


def _without_second(call: Call, dropped: set[Value]) -> Call:
    return replace(call, second=None) if call.second is not None and call.second.value in dropped else call
