"""The arguments of a frozen network that takes more than one image tensor: their structure, and checks of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hgfast import _checks as checks
from hgfast._checks.tensors import FLOATING
from hgfast.graph.captured import Ref, refs

MOST_DIMS = 64
LARGEST_SIZE = 1 << 62
ANY = (0, LARGEST_SIZE)


@dataclass(frozen=True)
class Input:
    """What a tensor among the arguments must be.

    Attributes:
        name: where it is among them, for messages: "batch['image']".
        sizes: least and largest size of each dimension.
        dtype: that it must have; None for floating-point numbers that are brought to the activations' dtype.
    """

    name: str
    sizes: tuple[tuple[int, int], ...]
    dtype: torch.dtype | None


@dataclass
class Arguments:
    """The arguments of a network's forward.

    Attributes:
        structure: by name, containers with Ref of places in `inputs`; everything else is a constant.
        kinds: by name, how the argument is passed: the value of a kind of inspect.Parameter.
        inputs: the tensors, the images first.
    """

    structure: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)

    def signature(self) -> inspect.Signature:
        """Say how the network is called; what holds no tensor may be left out.

        Raises:
            ValueError: names or kinds that no function has.
        """
        found = []
        for name, part in self.structure.items():
            kind = inspect._ParameterKind(self.kinds[name])
            several = kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            has_tensors = several or any(True for _ in refs(part))
            found.append(inspect.Parameter(name, kind, default=inspect.Parameter.empty if has_tensors else part))
        return inspect.Signature(found)

    def tensors(self, args: tuple[Any, ...], kwargs: dict[str, Any], device: torch.device) -> list[Tensor]:
        """Return the tensors of a call, in the order of `inputs`.

        Raises:
            TypeError: an argument is missing, or there is none of that name, or it is of another kind.
            ValueError: it has another shape, dtype, device or value than it can have.
        """
        try:
            bound = self.signature().bind(*args, **kwargs)
        except TypeError as error:
            names = ", ".join(self.structure)
            raise TypeError(f"the frozen network takes the arguments {names}: {error}") from None
        bound.apply_defaults()
        found: dict[int, Tensor] = {}
        for name, part in self.structure.items():
            for place, tensor in matched(name, part, bound.arguments[name]):
                found[place] = self._checked(self.inputs[place], tensor, device)
        return [found[place] for place in range(len(self.inputs))]

    def _checked(self, wanted: Input, tensor: Any, device: torch.device) -> Tensor:
        dtypes = FLOATING if wanted.dtype is None else (wanted.dtype,)
        checks.tensor("", wanted.name, tensor, ndim=len(wanted.sizes), dtypes=dtypes)
        for place, (size, (least, largest)) in enumerate(zip(tensor.shape, wanted.sizes, strict=True)):
            if not least <= size <= largest:
                what = f"{least} channels" if place == 1 and least == largest else _sizes(place, least, largest)
                raise ValueError(f"{wanted.name} must have {what}, got shape {tuple(tensor.shape)}")
        if tensor.device != device:
            raise ValueError(f"{wanted.name} must be on {device}, where the model was frozen, got {tensor.device}")
        return tensor


IMAGES = inspect.Signature([inspect.Parameter("images", inspect.Parameter.POSITIONAL_OR_KEYWORD)])


def only(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the argument of a network that takes images alone.

    Raises:
        TypeError: there is none, or there are others.
    """
    try:
        return IMAGES.bind(*args, **kwargs).arguments["images"]
    except TypeError as error:
        raise TypeError(f"the frozen network takes images alone: {error}") from None


def _sizes(place: int, least: int, largest: int) -> str:
    if largest == LARGEST_SIZE:
        return f"at least {least} in dimension {place}"
    return f"{least if least == largest else f'from {least} to {largest}'} in dimension {place}"


def matched(name: str, part: Any, given: Any) -> Iterator[tuple[int, Any]]:
    """Return what is given in the places of a structure.

    Raises:
        TypeError: it is another container.
        ValueError: of another length or with other keys, or a constant is another one.
    """
    if isinstance(part, Ref):
        yield part.value, given
    elif isinstance(part, dict):
        checks.instance("", name, given, dict)
        if set(part) != set(given):
            expected, came = (", ".join(map(repr, keys)) for keys in (part, given))
            raise ValueError(f"{name} must have the keys {expected}, got {came}")
        for key, item in part.items():
            yield from matched(f"{name}[{key!r}]", item, given[key])
    elif isinstance(part, (tuple, list)):
        checks.instance("", name, given, type(part))
        if len(part) != len(given):
            raise ValueError(f"{name} must have {len(part)} entries, got {len(given)}")
        for i, (item, value) in enumerate(zip(part, given, strict=True)):
            yield from matched(f"{name}[{i}]", item, value)
    elif isinstance(given, Tensor) or type(given) is not type(part) or given != part:
        raise ValueError(f"{name} must be {part!r}, with which the network was frozen; got {checks.describe(given)}")


def named(name: str, part: Any) -> Iterator[tuple[int, str]]:
    """Yield each Ref of a structure, and its name for people."""
    if isinstance(part, Ref):
        yield part.value, name
    elif isinstance(part, dict):
        for key, item in part.items():
            yield from named(f"{name}[{key!r}]", item)
    elif isinstance(part, (tuple, list)):
        for i, item in enumerate(part):
            yield from named(f"{name}[{i}]", item)


def check_arguments(arguments: Any, inputs: int) -> None:
    """Require what a graph of so many inputs takes for granted.

    Raises:
        TypeError, ValueError: something else.
    """
    checks.instance("", "arguments", arguments, Arguments)
    checks.instance("", "arguments.structure", arguments.structure, dict)
    if list(arguments.structure) != list(arguments.kinds):
        raise ValueError("arguments must have a kind for each name")
    for name, kind in arguments.kinds.items():
        checks.instance("", "arguments.kinds", name, str)
        if not name.isidentifier():
            raise ValueError(f"arguments.kinds must be of valid parameter names, got {checks.describe(name)}")
        checks.integer("", "arguments.kinds", kind, 0, 4)
    arguments.signature()
    if sorted(refs(arguments.structure)) != list(range(inputs)) or len(arguments.inputs) != inputs:
        raise ValueError(f"arguments must have a place for each of {inputs} inputs")
    for i, entry in enumerate(arguments.inputs):
        checks.instance("", f"arguments.inputs[{i}]", entry, Input)
        checks.instance("", f"arguments.inputs[{i}].name", entry.name, str)
        checks.instance("", f"arguments.inputs[{i}].dtype", entry.dtype, torch.dtype, type(None))
        checks.instance("", f"arguments.inputs[{i}].sizes", entry.sizes, tuple)
        if len(entry.sizes) > MOST_DIMS or any(len(pair) != 2 for pair in entry.sizes):
            raise ValueError(f"arguments.inputs[{i}].sizes must be at most {MOST_DIMS} pairs")
        for size in (size for pair in entry.sizes for size in pair):
            checks.integer("", f"arguments.inputs[{i}].sizes", size, 0, LARGEST_SIZE)
    if len(arguments.inputs[0].sizes) != 4:
        raise ValueError("arguments.inputs[0] must be the images, with 4 dimensions")
