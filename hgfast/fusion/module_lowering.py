"""One module of a captured network as steps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from hgfast.fusion.groups import NORM
from hgfast.fusion.layout import ASKING
from hgfast.fusion.lowered import Layer, Lowered, ModuleStep, Opened, PlainStep, PoolStep, ProgramStep, Step
from hgfast.fusion.nesting import NETWORK
from hgfast.fusion.programs import Operation, operations_of
from hgfast.fusion.settings import layer_settings, parts_of, settings_of
from hgfast.graph import ops
from hgfast.graph.captured import CapturedCall, Mode, name_of, refs, replaced
from hgfast.graph.tracer import as_call, forward_of

if TYPE_CHECKING:
    from hgfast.fusion.lowering import Lowering

POOL = ops.Pool("max", (2, 2), (2, 2))
Place = tuple[float, int]
"""Where a step stands: a node, and 0 before or 1 at it."""


class Unlowerable(Exception):
    """Why a module's forward pass is left as it is."""


class ModuleLowering:
    """The steps of one call of a module."""

    def __init__(self, network: Lowering, number: int) -> None:
        self.network, self.number = network, number
        self.graph, self.values, nesting = network.graph, network.values, network.nesting
        self.path = network.path(number)
        self.nodes = [i for i, home in enumerate(nesting.home) if nesting.owner(home) == number]
        self.children = [
            child
            for child in range(len(self.graph.calls))
            if child not in nesting.opened and nesting.owner(nesting.parents[child]) == number
        ]
        self.opened = [
            child for child in nesting.opened if nesting.owner(child) == number and self.graph.calls[child].path
        ]
        self.args, self.kwargs = self._given()
        self.result = self.values.results if number == NETWORK else self.values.given_back[number]
        self.steps: dict[Place, Step] = {}

    def lower(self) -> Lowered | None:
        """Return the forward pass; None where nothing in it is worth an operation of its own.

        Raises:
            Unlowerable: the module cannot be run by itself.
        """
        groups = [group for group in self.network.groups if self.network.nesting.of(group) == self.number]
        inside = {node for group in groups for node in group.nodes}
        norms = [group.module for group in groups if group.kind == NORM and group.module not in self.network.shared]
        if len(set(norms)) < len(norms):
            raise Unlowerable("a BatchNorm in it is called more than once")
        outside = self._read_outside(inside) | {group.value for group in groups if group.module in self.network.shared}
        operations = [op for op in operations_of(groups, self.values, outside) if op.pays()]
        if not operations and not any(self.graph.nodes[node].op == POOL for node in self.nodes):
            return None
        for operation in operations:
            self.steps[operation.groups[-1].value, 1] = self._program(operation)
        fused = {node for operation in operations for group in operation.groups for node in group.nodes}
        for child in self.children:
            self.steps[self.graph.calls[child].first, self._order(child)] = self._call(child)
        for node in self.nodes:
            if node not in fused:
                self._torch(node)
        self._pool_early()
        steps = [self.steps[place] for place in sorted(self.steps)]
        steps = [*self._stored(steps), *steps]
        lowered = Lowered(self.args, self.kwargs, steps, self._ends(steps), self.result, self._opened())
        lowered.training, lowered.deciding = self.graph.training, self._deciding()
        return lowered

    def _deciding(self) -> tuple[str, ...]:
        """Return the parts whose flags decide what is computed, where that was captured in one mode."""
        below = f"{self.path}." if self.path else ""
        decided = self.graph.decided if self.graph.training is not None else ()
        return tuple(sorted(self._relative(path) for path in decided if path == self.path or path.startswith(below)))

    def _given(self) -> tuple[Any, Any]:
        if self.number != NETWORK:
            given = self.values.given[self.number]
        else:
            given = as_call(forward_of(self.network.module), self.graph.inputs)
        modes: list[Mode] = []
        replaced(given, lambda item: modes.append(item) if isinstance(item, Mode) else item)
        if modes:
            raise Unlowerable("it is given the training flag of another module")
        return given  # type: ignore[no-any-return]

    def _order(self, child: int) -> int:
        """Order calls that begin at one node: those without nodes among them come first, before the node itself."""
        return child - len(self.graph.calls)

    def _read_outside(self, inside: set[int]) -> set[int]:
        """Return the values that something else than a stage of this module reads."""
        read = set(refs(self.result))
        read |= {value for node in self.nodes if node not in inside for value in self.values.reads[node]}
        return read | {value for child in self.children for value in refs(self.values.given[child])}

    def _relative(self, path: str) -> str:
        """Return a path from this module on.

        Raises:
            Unlowerable: it is none of its parts.
        """
        if not self.path:
            return path
        if path.startswith(f"{self.path}."):
            return path[len(self.path) + 1 :]
        owner, _, rest = path.rpartition(".")
        for whole, tail in ((path, ""), (owner, f".{rest}")):  # a module, or the owner of a parameter, of two names
            wanted = self.network.module.get_submodule(whole) if whole in self.network.names else None
            for name, part in self.network.module.get_submodule(self.path).named_modules(remove_duplicate=False):
                if part is wanted:
                    return f"{name}{tail}".strip(".")
        raise Unlowerable(f"it uses {path}, which is no part of it")

    def _here(self, structure: Any) -> Any:
        """Return a structure with the paths in it from this module on."""
        return replaced(structure, lambda item: Mode(self._relative(item.path)) if isinstance(item, Mode) else item)

    def _program(self, operation: Operation) -> ProgramStep:
        modules: dict[str, Any] = {path: self.network.module.get_submodule(path) for path in operation.convolutions}
        strides: dict[str, int] = {path: module.stride[0] for path, module in modules.items()}
        nodes = sorted(node for group in operation.groups for node in group.nodes)
        return ProgramStep(
            operation.program(strides),
            operation.inputs,
            [self._relative(path) for path in operation.convolutions],
            [self._relative(path) for path in operation.norms],
            [self._torch_step(node) for node in nodes],
            operation.groups[-1].value,
            tuple(strides[path] for path in operation.convolutions),
            self._layers(nodes),
        )

    def _layers(self, nodes: list[int]) -> list[Layer]:
        """Return the layers without parameters that these nodes call."""
        found = []
        for node in nodes:
            op, call = self.graph.nodes[node].op, self.graph.nodes[node].call
            if call.kind == "module" and not isinstance(op, (ops.Conv, ops.Norm)):
                layer = self.network.module.get_submodule(str(call.target))
                found.append(Layer(self._relative(str(call.target)), type(layer), layer_settings(layer)))
        return found

    def _call(self, child: int) -> ModuleStep:
        path = self._relative(self.graph.calls[child].path)
        args, kwargs = (self._here(item) for item in self.values.given[child])
        return ModuleStep(path, args, kwargs, self.values.given_back[child])

    def _torch(self, node: int) -> None:
        op, kind = self.graph.nodes[node].op, self.graph.nodes[node].call.kind
        if kind in ("input", "tensor") or (isinstance(op, ops.Identity) and kind == "module"):
            return
        step = self._torch_step(node)
        if op == POOL:
            self.steps[node, 1] = PoolStep(self.values.reads[node][0], False, step, self._layers([node]))
        else:
            self.steps[node, 1] = step

    def _torch_step(self, node: int) -> PlainStep:
        call = self.values.calls[node]
        target = self._relative(str(call.target)) if call.kind == "module" else call.target
        if call.kind == "function":
            self._check_named(call.target)
        call = CapturedCall(call.kind, target, self._here(call.args), self._here(call.kwargs))
        written = self.values.writes.get(node)
        shared = written is not None and len(set(self.values.readers[written])) > 1
        name = str(getattr(call.target, "__name__", call.target))
        slow = isinstance(self.graph.nodes[node].op, ops.Deconv)  # half as fast where only its weight is contiguous
        asks = slow or (call.kind in ("method", "function") and name in ASKING)
        asks = asks and not self.network.channels_last
        return PlainStep(node, call, self._constants(call), asks, written if shared else None)

    def _check_named(self, function: Any) -> None:
        try:
            name_of(function)
        except ValueError as error:  # the module could not be put into a file any more
            raise Unlowerable(str(error)) from None

    def _constants(self, call: CapturedCall) -> dict[str, Any]:
        return {str(call.target): self.graph.constants[str(call.target)]} if call.target in self.graph.constants else {}

    def _pool_early(self) -> None:
        """Pool before others read the same value, so that the gradients of both are added by the pooling's kernel."""
        for place, step in sorted(self.steps.items()):
            if not isinstance(step, PoolStep):
                continue
            reading = [other for other, found in self.steps.items() if step.source in _reads(found)]
            first = min(reading)
            branches = any(isinstance(self.steps[other], PoolStep) for other in reading if other != place)
            if len(reading) == 1 or self.values.borders or branches:
                continue
            del self.steps[place]
            self.steps[first[0] - 0.5, first[1]] = dataclasses.replace(step, branch=True)

    def _stored(self, steps: list[Step]) -> list[Step]:
        """Make the steps that get the parameters, buffers and constants which others read."""
        read = {value for step in steps for value in _reads(step)} | set(refs(self.result))
        stored = sorted(value for value in read if isinstance(self.graph.nodes[value].op, ops.Stored))
        given = set(refs((self.args, self.kwargs)))
        return [self._tensor(value) for value in stored if value not in given]

    def _tensor(self, value: int) -> PlainStep:
        path = str(self.graph.nodes[value].call.target)
        constant = path in self.graph.constants
        call = CapturedCall("tensor", path if constant else self._relative(path))
        return PlainStep(value, call, self._constants(call))

    def _ends(self, steps: list[Step]) -> list[tuple[int, ...]]:
        """List for each step the values that it is the last to read or that nobody reads.

        Raises:
            Unlowerable: something is read that is not at hand.
        """
        kept, known = set(refs(self.result)), set(refs((self.args, self.kwargs)))
        last: dict[int, int] = {}
        for i, step in enumerate(steps):
            if not _reads(step) <= known:
                raise Unlowerable("it reads a value that it neither is given nor makes")
            known |= _makes(step)
            last |= dict.fromkeys(_reads(step) | _makes(step), i)
        if not kept <= known:
            raise Unlowerable("it gives a value that it neither is given nor makes")
        return [tuple(v for v, end in last.items() if end == i and v not in kept) for i in range(len(steps))]

    def _opened(self) -> list[Opened]:
        """Return the module and those opened in it."""
        paths = dict.fromkeys([self.path, *(self.graph.calls[child].path for child in sorted(self.opened))])
        found = []
        for path in paths:
            module = self.network.module.get_submodule(path)
            settings = settings_of(module)
            assert settings is not None  # those whose settings cannot be compared are closed
            relative = "" if path == self.path else self._relative(path)
            found.append(Opened(relative, type(module), settings, parts_of(module)))
        return found


def _reads(step: Step) -> set[int]:
    if isinstance(step, ProgramStep):
        return {*step.inputs, *(value for part in step.torch for value in _reads(part))} - set(map(_value, step.torch))
    if isinstance(step, PoolStep):
        return {step.source}
    return set(refs((step.call.args, step.call.kwargs) if isinstance(step, PlainStep) else (step.args, step.kwargs)))


def _value(step: PlainStep) -> int:
    return step.value


def _makes(step: Step) -> set[int]:
    if isinstance(step, ModuleStep):
        return set(refs(step.result))
    return {step.torch.value if isinstance(step, PoolStep) else step.value}
