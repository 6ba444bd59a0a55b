"""Calls of a frozen network that torch runs, as they stand in the network it was made from."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from hgfast.graph.captured import CapturedCall, Ref, refs, replaced
from hgfast.nn._structure import has_hooks

HOMES = ("torch", "torch.nn.functional", "torch._C._nn", "operator", "builtins")


@dataclass
class TorchCall:
    """output = a call of torch's, anything from a tensor to a number.

    Attributes:
        call: its Refs are values of the frozen graph; tensors in it are the network's parameters and buffers.
        module: of a call of kind "module", in evaluation mode.
        what: its name for people.
        written: values that it would write into; it gets copies of them.
        weights: multiplications for each pixel of the result, where it is a convolution.
        like, stride: the value that the output has the height and width of, or one in `stride` of them, rounded up;
            None where that cannot be said.
        into: whether it is a function that takes `out`, the memory for its result.
    """

    name: str
    output: int
    call: CapturedCall
    module: nn.Module | None = None
    what: str = ""
    written: tuple[int, ...] = ()
    weights: int = 0
    like: int | None = None
    stride: int = 1
    into: bool = False
    second: None = field(default=None, init=False)

    def inputs(self) -> Iterator[int]:
        """Yield all values that the call reads."""
        yield from dict.fromkeys(refs((self.call.args, self.call.kwargs)))

    @property
    def has_hooks(self) -> bool:
        """Whether it calls code of the network's user besides."""
        return self.module is not None and has_hooks(*self.module.modules())

    def prepare(self, weights: Any) -> None:
        """Bring what it holds to its device."""
        _held((self.call.args, self.call.kwargs), weights)
        if self.module is not None:
            weights.module(self.module)

    def run(self, values: Mapping[int, Any], weights: Any, **out: Tensor) -> Any:
        """Compute the value from those that it reads.

        Args:
            values: those, by number.
            weights: of the frozen network (hgfast.frozen.weights).
            out: the memory for it, where the call goes into memory that is given.
        """

        def now(item: Any) -> Any:
            if not isinstance(item, Ref):
                return item
            value = values[item.value]
            return tree_map(_copied, value) if item.value in self.written else value

        args = replaced(_held(self.call.args, weights), now)
        kwargs = replaced(_held(self.call.kwargs, weights), now)
        if self.module is not None:
            return weights.module(self.module)(*args, **kwargs)
        if self.call.kind == "method":
            return getattr(args[0], str(self.call.target))(*args[1:], **kwargs)
        assert callable(self.call.target)
        return self.call.target(*args, **kwargs, **out)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "call": (self.call.kind, _name(self.call.target), self.call.args, self.call.kwargs)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kind, target, args, kwargs = state["call"]
        vars(self).update(state, call=CapturedCall(kind, _named(target), args, kwargs))


def _copied(item: Any) -> Any:
    return item.clone() if isinstance(item, Tensor) else item


def _held(structure: Any, weights: Any) -> Any:
    return tree_map(lambda leaf: weights.held(leaf) if isinstance(leaf, Tensor) else leaf, structure)


def _name(target: Any) -> Any:
    """Find a function of torch's by its name, for pickle does not know them all."""
    if isinstance(target, torch._ops.OpOverload):
        return "torch.ops", *str(target).split(".")
    for home in HOMES:
        name = getattr(target, "__name__", "")
        if getattr(importlib.import_module(home), name, None) is target:
            return home, name
    return target


def _named(target: Any) -> Any:
    if not isinstance(target, tuple):
        return target
    home, *names = target
    found: Any = torch.ops if home == "torch.ops" else importlib.import_module(home)
    for name in names:
        found = getattr(found, name)
    return found


def raised_sum(x: Tensor, low: Tensor, factor: int | None, out: Tensor | None = None) -> Tensor:
    """x (N, C, H, W) plus low, each pixel `factor` times in both directions, or as often as it takes; out may be x.

    Raises:
        ValueError: x is of another size.
    """
    (h, w), (low_h, low_w) = x.shape[2:], low.shape[2:]
    if factor is not None and (h, w) != (factor * low_h, factor * low_w):
        raise ValueError(f"what is {factor} times as large as {low_h}x{low_w} is added to {h}x{w}")
    return torch.add(x, F.interpolate(low, size=(h, w), mode="nearest"), out=out)


def concatenated(tensors: list[Tensor], dim: int, out: Tensor | None = None) -> Tensor:
    """Put one behind the other."""
    return torch.cat(tensors, dim, out=out)


def spread(x: Tensor, phases: int, out: Tensor | None = None) -> Tensor:
    """(N, phases K, H, W), channel p K + k of pixel p of each 2x2, to (N, K, 2H, 2W)."""
    n, channels, h, w = x.shape
    k, side = channels // phases, int(phases**0.5)
    out = x.new_empty(n, side * h, side * w, k).permute(0, 3, 1, 2) if out is None else out
    places = out.permute(0, 2, 3, 1).view(n, h, side, w, side, k).permute(0, 1, 3, 2, 4, 5)
    places.copy_(x.permute(0, 2, 3, 1).view(n, h, w, side, side, k))
    return out
