"""Which modules are called as they stand, and which are opened because an operation reaches across their border.

A shortcut's Sequential of convolution and BatchNorm is opened, for the sum behind it belongs to the BatchNorm; a block
is not. What is opened is not called any more, so hooks that are put on it later make its caller go back to its own
code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hgfast.fusion.groups import CONV, NORM, Group
from hgfast.fusion.values import Values
from hgfast.graph.captured import CapturedGraph

NETWORK = -1
"""Number of the network's own call, as `CapturedGraph.homes` gives it."""


class Nesting:
    """The tree of module calls, and which of them are opened.

    Attributes:
        home: for each node the innermost call that it is made in.
        opened: numbers of the calls that are part of the one around them.
        free: numbers of the calls that may be opened.
    """

    def __init__(self, graph: CapturedGraph) -> None:
        self.graph = graph
        self.parents = [NETWORK if call.parent is None else call.parent for call in graph.calls]
        self.home = graph.homes()
        self.opened: set[int] = set()
        self.free: set[int] = set()

    def join(self, nodes: Iterable[int]) -> None:
        """Open calls so that all nodes are made in one."""
        chains = [self.chain(self.home[node]) for node in nodes]
        shared = next(call for call in chains[0] if all(call in chain for chain in chains))
        for chain in chains:
            self.opened.update(chain[: chain.index(shared)])

    def owner(self, call: int) -> int:
        """Return the call around it, or it itself, that is not opened."""
        while call in self.opened:
            call = self.parents[call]
        return call

    def of(self, group: Group) -> int:
        """Return the call that a stage is part of."""
        return self.owner(self.home[group.value])

    def cost(self, nodes: Iterable[int]) -> int:
        """Count the calls of torch's in what joining these nodes would open."""
        chains = [self.chain(self.home[node]) for node in nodes]
        apart = {call for chain in chains for call in chain if not all(call in other for other in chains)}
        return sum(self.graph.calls[call].last - self.graph.calls[call].first for call in apart - self.opened)

    def chain(self, call: int) -> list[int]:
        """Return a call, the one around it, and so on to the network's."""
        chain = [call]
        while chain[-1] != NETWORK:
            chain.append(self.parents[chain[-1]])
        return chain


def open_calls(nesting: Nesting, groups: list[Group], values: Values) -> None:
    """Open what has to be opened.

    A stage's calls must be together; so must a write in place and the value that it writes into; and a BatchNorm and a
    convolution on either side of it, one of which keeps what the other's gradient is computed from.
    """
    made = {group.value: group for group in groups}
    readers: dict[int, list[Group]] = {}
    for group in groups:
        nesting.join(group.nodes)
        for value in group.reads:
            readers.setdefault(value, []).append(group)
    for node, value in values.writes.items():
        nesting.join((node, value))
    for norm in groups:
        if norm.kind == NORM:
            before = made.get(norm.source)
            partners = [before] if before is not None and before.kind == CONV else []
            partners += [group for group in readers.get(norm.value, ()) if group.kind == CONV]
            if partners and all(nesting.of(partner) != nesting.of(norm) for partner in partners):
                nearest = min(partners, key=lambda partner: nesting.cost((norm.value, partner.value)))
                nesting.join((norm.value, nearest.value))
    while _open_wrappers(nesting, groups, readers, values):
        pass


def _open_wrappers(nesting: Nesting, groups: list[Group], readers: dict[int, list[Group]], values: Values) -> bool:
    """Open the calls around one convolution that a stage of their caller reads from or gives to; whether there are any.

    A block of wrapped convolutions becomes one operation thereby.
    """
    convolutions = Counter(nesting.of(group) for group in groups if group.kind == CONV)
    apart: set[int] = set()
    for group in groups:
        for reader in readers.get(group.value, ()):
            inner, outer = nesting.of(group), nesting.of(reader)
            near = values.span(group.value) == values.span(reader.value)
            for call, other in ((inner, outer), (outer, inner)):
                around = nesting.owner(nesting.parents[call]) if call != NETWORK else None
                if near and around == other and convolutions[call] == 1 and call in nesting.free:
                    apart.add(call)
    nesting.opened |= apart
    return bool(apart)
