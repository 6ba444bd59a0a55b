"""A network as a graph of what it computes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from hgfast.graph.ops import Op

FUNCTION = "function"
HOMES = ("torch", "torch.nn.functional", "operator", "builtins", "torch._C._nn", "torch.functional", "math")
"""Where functions of torch's are found that do not say so themselves."""
Value = int
"""Number of the node that makes a value."""


@dataclass(frozen=True)
class Ref:
    """A value among a call's arguments, which may be containers."""

    value: Value


@dataclass(frozen=True)
class Mode:
    """The training flag of a module, at the path, among a call's arguments."""

    path: str


@dataclass(frozen=True)
class CapturedCall:
    """How torch computes a node.

    Attributes:
        kind: "input" (target: its number), "module" (target: the path), "tensor" (a parameter, buffer or constant;
            target: its path), "function" (target: the function) or "method" (target: the name).
        args, kwargs: plain values and containers with Ref and Mode in them.
    """

    kind: str
    target: str | int | Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> Any:
        """Files name functions by where they are found, for some of torch's call themselves by another name."""
        target = (FUNCTION, *name_of(self.target)) if callable(self.target) else self.target
        return _call, (self.kind, target, self.args, self.kwargs)


def _call(kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CapturedCall:
    if isinstance(target, tuple):
        target = getattr(importlib.import_module(target[1]), target[2])
    return CapturedCall(kind, target, args, kwargs)


def name_of(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the package in which a function is found, and its name there.

    Raises:
        ValueError: it is found nowhere.
    """
    name = str(getattr(function, "__name__", ""))
    for home in (getattr(function, "__module__", None), *HOMES):
        if home and getattr(sys.modules.get(home), name, None) is function:
            return home, name
    raise ValueError(f"the function {name or function} is found in no package")


@dataclass
class Node:
    """One call of torch's.

    Attributes:
        name: for people: the path of the module whose call or code it is, and what is called.
        op: what it computes.
        inputs: values that it reads, those of `op` first, in its order.
        call: how torch computes it; running the calls of all nodes in order gives the module's own numbers.
        modules: paths of the modules whose parameters or buffers it uses.
        scope: path of the module in whose forward it is called.
    """

    name: str
    op: Op
    inputs: tuple[Value, ...]
    call: CapturedCall
    modules: tuple[str, ...] = ()
    scope: str = ""


@dataclass
class Stop:
    """Why a module was not looked into: the reason, and the line of code that stopped the trace ("file:line: text")."""

    reason: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.line})" if self.line else self.reason


@dataclass
class ModuleCall:
    """The call of a module that is looked into.

    Attributes:
        path: of the module.
        parent: number of the call in whose forward it is called; None for that of the network.
        first, last: its nodes are those from first to last - 1.
        args, kwargs: what it is given, with Ref and Mode in it.
        result: what it gives.
    """

    path: str
    parent: int | None
    first: int
    last: int
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    result: Any = None


@dataclass
class CapturedGraph:
    """Nodes in the order in which they run.

    Attributes:
        nodes: node i makes value i.
        inputs: for each argument of the module's forward a structure of containers with Ref in it.
        result: what the module gives, a structure with Ref in it.
        calls: of the modules that are looked into, in the order in which they begin, the network's own apart.
        constants: tensors that are no parameter or buffer of the module, by name.
        stops: by path, the modules that are one Opaque node each, and why; "" is the network itself.
        parts: by path, the graphs of what could be captured inside of those.
        training: the mode that the graph holds for; None if it holds for both.
        decided: paths of the modules whose training flags the code has looked at.
    """

    nodes: list[Node] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    calls: list[ModuleCall] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)
    stops: dict[str, Stop] = field(default_factory=dict)
    parts: dict[str, CapturedGraph] = field(default_factory=dict)
    training: bool | None = None
    decided: set[str] = field(default_factory=set)

    def count(self, kind: type[Op]) -> int:
        """Count the nodes of a kind, in the parts as well."""
        own = sum(isinstance(node.op, kind) for node in self.nodes)
        return own + sum(part.count(kind) for part in self.parts.values())

    def homes(self) -> list[int]:
        """Return for each node the innermost call in which it is made; -1 for the network's own."""
        found = [-1] * len(self.nodes)
        for number, call in enumerate(self.calls):
            found[call.first : call.last] = [number] * (call.last - call.first)
        return found

    def __str__(self) -> str:
        width = max((len(node.name) for node in self.nodes), default=0)
        lines = [f"{i:4} {node.name:<{width}} {node.op} <- {node.inputs}" for i, node in enumerate(self.nodes)]
        lines += [f"{path or 'the network'} is left to torch: {stop}" for path, stop in self.stops.items()]
        for path, part in self.parts.items():
            lines += [f"inside {path}:", *(f"    {line}" for line in str(part).splitlines())]
        return "\n".join(lines)


def refs(structure: Any) -> Iterator[Value]:
    """Yield all values in a structure of tuples, lists, dicts and slices."""
    if isinstance(structure, Ref):
        yield structure.value
    elif isinstance(structure, (tuple, list)):
        for item in structure:
            yield from refs(item)
    elif isinstance(structure, dict):
        for item in structure.values():
            yield from refs(item)
    elif isinstance(structure, slice):
        yield from refs((structure.start, structure.stop, structure.step))


def replaced(structure: Any, change: Callable[[Any], Any]) -> Any:
    """Return a structure with each Ref and Mode in it changed."""
    if isinstance(structure, (Ref, Mode)):
        return change(structure)
    if isinstance(structure, slice):
        return slice(*(replaced(part, change) for part in (structure.start, structure.stop, structure.step)))
    if isinstance(structure, dict):
        return {key: replaced(item, change) for key, item in structure.items()}
    if isinstance(structure, (tuple, list)):
        return type(structure)(replaced(item, change) for item in structure)
    return structure


def tensor_at(module: nn.Module, constants: dict[str, Tensor], path: str) -> Tensor | None:
    """Return the parameter, buffer or constant of a name, as it is now."""
    if path in constants:
        return constants[path]
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)
