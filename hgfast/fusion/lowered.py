"""A module's forward pass as steps: fused operations, calls of its parts, and whatever else torch computes there.

Steps hold paths and numbers, neither modules nor the module's tensors: copies, replicas and files of the module stay
what they are. Whatever is not as it was when the module was fused is left to the module's own code, or to torch's
calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from hgfast import ops
from hgfast.fusion.fits import Fits
from hgfast.fusion.settings import Parts, Settings, are_same, parts_of
from hgfast.graph.captured import CapturedCall, Ref, refs, replaced
from hgfast.graph.interpret import evaluate
from hgfast.nn._contiguous import contiguous
from hgfast.nn._program import Merge, Program
from hgfast.nn._structure import are_plain, has_hooks, is_synchronised, parameters_of, part_at
from hgfast.nn._tape import run
from hgfast.ops.max_pool import takes_pool

Values = dict[int, Any]
"""What each value of the captured graph is by now."""


@dataclass
class PlainStep:
    """A call of torch's.

    Attributes:
        value: what it computes.
        call: how.
        constants: see CapturedGraph.
        asks: whether it looks at the layout of what it is given, which fused operations change.
        copies: a value that it writes into and that others read.
    """

    value: int
    call: CapturedCall
    constants: dict[str, Tensor] = field(default_factory=dict)
    asks: bool = False
    copies: int | None = None

    def run(self, module: nn.Module, values: Values, recompute: bool) -> None:
        """Compute the value."""
        given = values
        if self.asks:
            read = set(refs((self.call.args, self.call.kwargs)))
            given = {value: contiguous(values[value]) for value in read}
        if self.copies is not None:
            given = {**given, self.copies: given[self.copies].clone()}
        values[self.value] = evaluate(self.call, given, module, self.constants)


@dataclass
class ModuleStep:
    """A call of a part as it stands."""

    path: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    def run(self, module: nn.Module, values: Values, recompute: bool) -> None:
        """Call it."""

        def now(item: Any) -> Any:
            return values[item.value] if isinstance(item, Ref) else module.get_submodule(item.path).training

        part = part_at(module, self.path)
        _assign(self.result, part(*replaced(self.args, now), **replaced(self.kwargs, now)), values)


@dataclass
class Layer:
    """One of torch's layers without parameters that an operation stands for: it must be what it was."""

    path: str
    kind: type
    settings: Settings

    def stands(self, module: nn.Module) -> bool:
        """Whether it is, and nothing else is called with it."""
        layer = part_at(module, self.path)
        return type(layer) is self.kind and not has_hooks(layer) and are_same(layer, self.settings)


@dataclass
class PoolStep:
    """2x2 max-pooling; branch: of a value that others read afterwards, whose gradient is added in its kernel."""

    source: int
    branch: bool
    torch: PlainStep
    layers: list[Layer]

    def run(self, module: nn.Module, values: Values, recompute: bool) -> None:
        """Pool."""
        x = values[self.source]
        if not takes_pool(x) or not all(layer.stands(module) for layer in self.layers):
            self.torch.run(module, values, recompute)
        elif self.branch:
            values[self.source], values[self.torch.value] = ops.max_pool_branch(x)
        else:
            values[self.torch.value] = ops.max_pool(x)


@dataclass
class ProgramStep:
    """A fused operation.

    Attributes:
        program: its stages.
        inputs: values that it reads, as the program numbers them.
        convolutions, norms: paths, likewise.
        torch: the same by torch, for tensors and modules that the operation does not take.
        value: its result.
        strides: of the convolutions.
        layers: the others that it stands for.
    """

    program: Program
    inputs: list[int]
    convolutions: list[str]
    norms: list[str]
    torch: list[PlainStep]
    value: int
    strides: tuple[int, ...]
    layers: list[Layer]
    fits: Fits = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.fits = Fits(self.program)

    def run(self, module: nn.Module, values: Values, recompute: bool) -> None:
        """Compute the value.

        Raises:
            RuntimeError: torch would have to compute it, and a BatchNorm synchronises its statistics.
        """
        inputs = [values[value] for value in self.inputs]
        convs: list[Any] = [part_at(module, path) for path in self.convolutions]
        norms: list[Any] = [part_at(module, path) for path in self.norms]
        same = are_plain(convs, norms) and all(layer.stands(module) for layer in self.layers)
        same = same and all(conv.stride[0] == stride for conv, stride in zip(convs, self.strides, strict=True))
        if not same or not self.fits(inputs, convs, norms):
            if any(map(is_synchronised, norms)):
                raise RuntimeError(f"hgfast: a {type(module).__name__} with hooks or changed parts cannot synchronise")
            given = dict(values)
            for step in self.torch:
                step.run(module, given, recompute)
            values[self.value] = given[self.value]
        elif len(self.program.stages) == 1 and isinstance(self.program.stages[0], Merge) and not recompute:
            values[self.value] = ops.upsample_add(*inputs)
        else:
            values[self.value] = run(self.program, inputs, parameters_of(*convs), norms, recompute)


Step = PlainStep | ModuleStep | PoolStep | ProgramStep


@dataclass
class Opened:
    """A module whose code stands in the steps: it must be what it was. path: "" for the fused module itself."""

    path: str
    kind: type
    settings: Settings
    parts: Parts

    def stands(self, module: nn.Module) -> bool:
        """Whether it is, and nothing else is called with it."""
        part: Any = part_at(module, self.path)
        kind = getattr(part, "_hgfast_plain", type(part))  # it may be fused for those who call it
        if self.path and (kind is not self.kind or has_hooks(part)):
            return False
        return are_same(part, self.settings) and parts_of(part) == self.parts


@dataclass
class Lowered:
    """The forward pass.

    Attributes:
        args, kwargs: what the module was given, with Ref in the place of tensors.
        steps: in their order.
        ends: for each step the values that nobody reads after it.
        result: what the module gives.
        opened: the module itself and others whose code stands in the steps.
        recompute: see `hgfast.fuse`.
        training: the mode that the steps are for; None for both.
        deciding: paths of the parts that must be in that mode, for their code asks for it.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    steps: list[Step]
    ends: list[tuple[int, ...]]
    result: Any
    opened: list[Opened]
    recompute: bool = False
    training: bool | None = None
    deciding: tuple[str, ...] = ()

    def run(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
        """Whether the steps stand for the module's code with these arguments, and if so what it gives."""
        values = self._bound(args, kwargs)
        if values is None or not self._stands(module):
            return False, None
        for step, ends in zip(self.steps, self.ends, strict=True):
            step.run(module, values, self.recompute)
            for value in ends:
                values.pop(value, None)
        return True, replaced(self.result, lambda ref: values[ref.value])

    @property
    def norms(self) -> set[str]:
        """Paths of the BatchNorms in fused operations."""
        return {path for step in self.steps if isinstance(step, ProgramStep) for path in step.norms}

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Values | None:
        """Return the values of the arguments, if they are like those at the capture."""
        if not kwargs and not self.kwargs and len(args) == len(self.args) == 1 and isinstance(self.args[0], Ref):
            return {self.args[0].value: args[0]} if isinstance(args[0], Tensor) else None
        given, spec = tree_flatten((args, kwargs))
        wanted, wanted_spec = tree_flatten((self.args, self.kwargs))
        if spec != wanted_spec:
            return None
        values: Values = {}
        for item, known in zip(given, wanted, strict=True):
            if isinstance(known, Ref):
                if not isinstance(item, Tensor) or values.setdefault(known.value, item) is not item:
                    return None
            elif isinstance(item, Tensor) or type(item) is not type(known) or item != known:
                return None
        return values

    def _stands(self, module: nn.Module) -> bool:
        try:
            if any(part_at(module, path).training != self.training for path in self.deciding):
                return False
            return all(opened.stands(module) for opened in self.opened)
        except (KeyError, AttributeError):  # a part has been taken away
            return False


def _assign(structure: Any, found: Any, values: Values) -> None:
    """Put the tensors that a call gave where its structure says."""
    if isinstance(structure, Ref):
        values[structure.value] = found
    elif isinstance(structure, dict):
        for key, item in structure.items():
            _assign(item, found[key], values)
    elif isinstance(structure, (tuple, list)):
        for item, part in zip(structure, found, strict=True):
            _assign(item, part, values)
