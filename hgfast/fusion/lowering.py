"""From a captured graph to the forward passes of the modules in it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from hgfast.fusion.groups import LEFT, groups_of, shared_norms
from hgfast.fusion.lowered import Lowered
from hgfast.fusion.module_lowering import ModuleLowering, Unlowerable
from hgfast.fusion.nesting import NETWORK, Nesting, open_calls
from hgfast.fusion.settings import settings_of
from hgfast.fusion.values import values_of
from hgfast.graph import source
from hgfast.graph.captured import CapturedGraph, refs


class Lowering:
    """The lowering of a network.

    Attributes:
        module, graph: the network, and what was captured of it.
        channels_last: whether its results lie so anyway.
        names: of the modules.
        shared: paths of the BatchNorms that are called more than once.
        nesting, values, groups: what is known of the graph.
        left: by path, why modules are left as they are.
    """

    def __init__(self, module: nn.Module, graph: CapturedGraph, channels_last: bool, fixed: set[str]) -> None:
        """Prepare the lowering; fixed: paths of modules that run all that is in them."""
        self.module, self.graph, self.channels_last = module, graph, channels_last
        self.names = {name for name, _ in module.named_modules()}
        self.nesting = Nesting(graph)
        self.shared = shared_norms(graph)
        self.left: dict[str, str] = {}
        self.fixed = {number for number, call in enumerate(graph.calls) if call.path in fixed}
        self.closed = {number for number in (NETWORK, *range(len(graph.calls))) if self._is_closed(number)}
        regions = [self._region(home) for home in self.nesting.home]
        self.nesting.free = {i for i in range(len(graph.calls)) if self._region(i) not in (LEFT, i)}
        self.values = values_of(module, graph, regions)
        self.groups = groups_of(module, graph, self.values, regions)
        open_calls(self.nesting, self.groups, self.values)

    def path(self, number: int) -> str:
        """Return the path of the module of a call."""
        return "" if number == NETWORK else self.graph.calls[number].path

    def modules(self) -> Iterator[tuple[str, Lowered]]:
        """Yield paths, and the forward passes of the modules there."""
        done: set[str] = set()
        for number in (NETWORK, *range(len(self.graph.calls))):
            path = self.path(number)
            if number in self.nesting.opened or path in done or self._region(number) == LEFT:
                continue
            done.add(path)
            try:
                self._check_calls_agree(path)
                lowered = ModuleLowering(self, number).lower()
            except Unlowerable as reason:
                self.left[path] = str(reason)
                continue
            if lowered is not None:
                yield path, lowered

    def _is_closed(self, number: int) -> bool:
        """Whether a module's code may do more than was captured, or decides by what cannot be watched."""
        module = self.module.get_submodule(self.path(number))
        reason = source.objection(type(module))  # type: ignore[arg-type]  # mypy takes the class for a module
        if reason is None and settings_of(module) is None:
            reason = "its forward reads attributes that cannot be compared with what they are now"
        if reason:
            self.left[self.path(number)] = reason
        return reason is not None

    def _region(self, number: int) -> int:
        """Return the outermost call around a call that stages may be part of; LEFT where there is none."""
        chain = self.nesting.chain(number)
        if number in self.closed or any(call in self.fixed for call in chain):
            return LEFT
        below = [call for call, around in zip(chain, chain[1:], strict=False) if around in self.closed]
        return below[0] if below else NETWORK

    def _check_calls_agree(self, path: str) -> None:
        """Raise Unlowerable where a module that is called more than once does not do the same each time."""
        ways = {self._way(number) for number, call in enumerate(self.graph.calls) if call.path == path}
        if len(ways) > 1:
            raise Unlowerable("it does not do the same each time it is called")

    def _way(self, number: int) -> str:
        """Return what a call does, to be compared with others of its module."""
        call = self.graph.calls[number]
        given = list(refs(self.values.given[number]))

        def place(value: int) -> str:
            return (
                f"own {value - call.first}" if value >= call.first else f"given {value in given and given.index(value)}"
            )

        nodes = range(call.first, call.last)
        steps = [(self.graph.nodes[i].op, *map(place, self.values.reads[i])) for i in nodes]
        return f"{len(given)} {steps} {list(map(place, refs(self.values.given_back[number])))}"
