"""Calls of a captured graph that the fused operation takes as one stage each.

A convolution with what is added to it; BatchNorm with a residual and a ReLU; nearest up-sampling with the sum behind
it; and what stands between these: a ReLU or a sum alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from hgfast.fusion.values import Values
from hgfast.graph import ops
from hgfast.graph.captured import CapturedGraph, Node, refs
from hgfast.nn._structure import is_plain_conv, is_plain_norm

CONV, NORM, RELU, SUM, MERGE = "convolution", "BatchNorm", "ReLU", "sum", "merge"
LARGEST_FACTOR = 64  # of an up-sampling
LEFT = -2


@dataclass
class Group:
    """One stage.

    Attributes:
        kind: one of the names above.
        source: the value that it reads first; for a merge the one that is not up-sampled.
        nodes: the calls that it stands for; the last one's value is its result.
        module: path of the convolution or BatchNorm.
        other: value that is added, for a merge the one that is up-sampled; None where nothing is.
        relu: whether a BatchNorm ends in a ReLU.
        factor: of the up-sampling.
    """

    kind: str
    source: int
    nodes: list[int]
    module: str = ""
    other: int | None = None
    relu: bool = False
    factor: int = 1

    @property
    def value(self) -> int:
        """Its result."""
        return self.nodes[-1]

    @property
    def reads(self) -> tuple[int, ...]:
        """Values that it reads."""
        return (self.source,) if self.other is None else (self.source, self.other)


def groups_of(module: nn.Module, graph: CapturedGraph, values: Values, regions: list[int]) -> list[Group]:
    """Return the stages in a graph of a module, in the order of their last calls.

    regions: for each node the number of the region that it is in, which no stage leaves; LEFT for those of no stage.
    """
    return sorted(_Builder(module, graph, values, regions).build(), key=lambda group: group.value)


def shared_norms(graph: CapturedGraph) -> set[str]:
    """Return paths of the BatchNorms that code calls more than once: their statistics move in the calls' order.

    Those of a module that is called more than once as a whole are none of them.
    """
    calls: dict[str, list[int]] = {}
    for node, number in zip(graph.nodes, graph.homes(), strict=True):
        if isinstance(node.op, ops.Norm):
            calls.setdefault(str(node.call.target), []).append(number)
    paths = ["", *(call.path for call in graph.calls)]  # that of the network stands for -1
    return {
        norm
        for norm, numbers in calls.items()
        if len(set(numbers)) < len(numbers) or len({paths[number + 1] for number in numbers}) > 1
    }


class _Builder:
    def __init__(self, module: nn.Module, graph: CapturedGraph, values: Values, regions: list[int]) -> None:
        self.module, self.graph, self.values, self.regions = module, graph, values, regions
        self.made: dict[int, Group] = {}
        self.shared = shared_norms(graph)
        self.results = set(refs(values.results))

    def build(self) -> Iterator[Group]:
        for i, node in enumerate(self.graph.nodes):
            if self.regions[i] != LEFT and i not in self.values.borders:
                self._take(i, node)
        yield from {id(group): group for group in self.made.values()}.values()

    def _take(self, i: int, node: Node) -> None:
        op, reads = node.op, self.values.reads[i]
        if isinstance(op, ops.Conv):
            if node.call.kind == "module" and is_plain_conv(self.module.get_submodule(str(node.call.target))):
                self._put(Group(CONV, reads[0], [i], str(node.call.target)))
        elif isinstance(op, ops.Norm):
            if node.call.kind == "module" and is_plain_norm(self.module.get_submodule(str(node.call.target))):
                self._put(Group(NORM, reads[0], [i], str(node.call.target)))
        elif isinstance(op, ops.Activation) and op.kind == "relu":
            group = self._sole(reads[0], i)
            kept = () if group is None or group.other is None else (group.other,)
            if group is not None and group.kind == NORM and not group.relu and all(map(self.values.stays, kept)):
                group.relu = True
                self._extend(group, i)
            elif self.values.stays(reads[0]):  # torch keeps the result
                self._put(Group(RELU, reads[0], [i]))
        elif isinstance(op, ops.Add):
            self._add(i, reads[0], reads[1])

    def _add(self, i: int, a: int, b: int) -> None:
        if any(isinstance(self.graph.nodes[value].op, ops.Stored) for value in (a, b)):
            return  # which is of one image's shape, or less
        pairs = ((a, b), (b, a)) if a != b else ()
        for skip, low in pairs:
            up = self._repetition(low, skip, i)
            if up is not None:
                self._put(Group(MERGE, skip, [low, i], other=self.values.reads[low][0], factor=up))
                return
        for kind in (NORM, CONV):
            for value, other in pairs:
                group = self._sole(value, i)
                if group is not None and group.kind == kind and group.other is None and not group.relu:
                    group.other = other
                    self._extend(group, i)
                    return
        self._put(Group(SUM, a, [i], other=b))

    def _repetition(self, low: int, skip: int, reader: int) -> int | None:
        """Return the factor by which a value repeats the pixels of another, if it does and only `reader` reads it."""
        op = self.graph.nodes[low].op
        alone = low not in self.results and self.values.readers.get(low) == [reader]
        if not isinstance(op, ops.Upsample) or op.mode != "nearest" or not alone or not self._together(low, reader):
            return None
        if op.like:  # to the size of the very tensor that it is added to
            return 0 if self.values.reads[low][1] == skip else None
        if op.factor is None or op.factor[0] != op.factor[1] or op.factor[0] not in range(2, LARGEST_FACTOR):
            return None
        return int(op.factor[0])

    def _sole(self, value: int, reader: int) -> Group | None:
        """Return the stage that makes a value which nothing but `reader` reads."""
        if value in self.results or self.values.readers.get(value) != [reader] or not self._together(value, reader):
            return None
        group = self.made.get(value)
        return None if group is None or group.module in self.shared else group

    def _together(self, a: int, b: int) -> bool:
        return self.values.span(a) == self.values.span(b) and self.regions[a] == self.regions[b]

    def _put(self, group: Group) -> None:
        self.made[group.value] = group

    def _extend(self, group: Group, node: int) -> None:
        del self.made[group.value]
        group.nodes.append(node)
        self.made[node] = group
