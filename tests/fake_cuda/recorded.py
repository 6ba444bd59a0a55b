"""An operator in a graph: its outputs without their values, and how it is done later on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from tests.fake_cuda.machine import Machine
from tests.fake_cuda.memory import Block, poison


def all_tensors(values: Any) -> Iterator[Tensor]:
    """The tensors in nested lists and dicts."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from all_tensors(list(values.values()))
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from all_tensors(value)


def each_tensor(values: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same nested lists and dicts, every tensor changed."""
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, dict):
        return {key: each_tensor(value, change) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(each_tensor(value, change) for value in values)
    return values


def arguments(func: Any, args: Any, kwargs: Any) -> Iterator[tuple[Tensor, bool]]:
    """The tensors that an operator is given, and whether it changes them."""
    named = {argument.name: argument for argument in func._schema.arguments}
    pairs = [
        *zip(func._schema.arguments, args, strict=False),
        *((named[name], value) for name, value in kwargs.items()),
    ]
    for argument, value in pairs:
        written = argument.alias_info is not None and argument.alias_info.is_write
        for tensor in all_tensors(value):
            yield tensor, written


def outputs_without_running(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operator gives while it is captured: tensors that hold nothing yet; its arguments stay as they are."""
    copies = {id(t): t.clone() for t, written in arguments(func, args, kwargs) if written}
    given = {id(copies[id(t)]): t for t, written in arguments(func, args, kwargs) if written}
    swap = lambda tensor: copies.get(id(tensor), tensor)  # noqa: E731
    result = func(*each_tensor(args, swap), **each_tensor(kwargs, swap))
    for tensor in all_tensors(result):
        if id(tensor) not in given:
            poison(tensor)
    return each_tensor(result, lambda tensor: given.get(id(tensor), tensor))


def outputs_by_shape(func: Any, args: Any, kwargs: Any, known: dict[str, Any]) -> Any:
    """Tensors that hold nothing, of the shapes and strides that an operator gave for the like; it is run once for all.

    known: what it gave, by what it was given.
    """
    shape = lambda t: (t.size(), t.stride(), t.dtype)  # noqa: E731
    key = repr((func, each_tensor(args, shape), each_tensor(kwargs, shape)))
    if key not in known:
        meta = lambda t: torch.empty_strided(t.size(), t.stride(), dtype=t.dtype, device="meta")  # noqa: E731
        known[key] = each_tensor(func(*args, **kwargs), meta)
    return each_tensor(known[key], lambda t: torch.empty_strided(t.size(), t.stride(), dtype=t.dtype))


@dataclass(frozen=True)
class Place:
    """Where a graph finds a tensor: at an address, which it does not keep alive."""

    machine: Machine
    block: Block
    dtype: torch.dtype
    offset: int
    size: torch.Size
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        storage = self.block.strong()
        if storage is None:
            self.machine.fault(f"a graph uses {self.block.name}, which is freed")
        return torch.empty(0, dtype=self.dtype).set_(storage, self.offset, self.size, self.stride)


def place_of(machine: Machine, tensor: Tensor) -> Any:
    """A tensor of a device as a graph knows it; others are numbers among a kernel's arguments."""
    block = machine.memory.find(tensor)
    if block is None:
        return tensor.clone()
    return Place(machine, block, tensor.dtype, tensor.storage_offset(), tensor.size(), tensor.stride())


def _found(value: Any) -> Any:
    if isinstance(value, Place):
        return value.tensor()
    if isinstance(value, dict):
        return {key: _found(entry) for key, entry in value.items()}
    return type(value)(_found(entry) for entry in value) if isinstance(value, (list, tuple)) else value


def replay_of(machine: Machine, func: Any, args: Any, kwargs: Any, result: Any) -> Callable[[], None]:
    """Does the operator again, into the tensors that it gave when it was captured."""
    given = {id(tensor) for tensor in all_tensors((args, kwargs))}
    held = each_tensor((args, kwargs), lambda tensor: place_of(machine, tensor))
    targets = [None if id(tensor) in given else place_of(machine, tensor) for tensor in all_tensors(result)]

    def run() -> None:
        with _disable_current_modes(), torch._C._AutoDispatchBelowAutograd():
            now_args, now_kwargs = _found(held)
            found = all_tensors(func(*now_args, **now_kwargs))
            for target, tensor in zip(targets, found, strict=True):
                if target is not None:
                    target.tensor().copy_(tensor)

    return run
