"""The tensors of a frozen network by name: what its state dict and its files of safetensors hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from hgfast.frozen.graph import Graph
from hgfast.frozen.torch_call import TorchCall


def named_tensors(graph: Graph) -> dict[str, Tensor]:
    """Name them all: `<name of the call>.weight`, `.bias`, `.scale`, `.shift`, `.extra.weight`, `.second.scale` ...

    BatchNorm is in these; they are no other network's. A call whose name came before has its number behind it.
    """
    found: dict[str, Tensor] = {}
    for name, call in zip(unique_names(graph), graph.calls, strict=True):
        parts = _of_torch(call) if isinstance(call, TorchCall) else _of_native(call)
        found |= {f"{name}.{part}": tensor for part, tensor in parts}
    return found


def unique_names(graph: Graph) -> list[str]:
    """Return a name for each call."""
    names: list[str] = []
    for call in graph.calls:
        taken = call.name in names or not call.name
        names.append(f"{call.name}#{len(names)}" if taken else call.name)
    return names


def _of_native(part: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for entry in fields(part):
        value, name = getattr(part, entry.name), f"{prefix}{entry.name}"
        if isinstance(value, Tensor):
            yield name, value
        elif is_dataclass(value):
            yield from _of_native(value, f"{name}.")


def _of_torch(call: TorchCall) -> Iterator[tuple[str, Tensor]]:
    if call.module is not None:
        yield from call.module.state_dict().items()
    held = [leaf for leaf in tree_leaves((call.call.args, call.call.kwargs)) if isinstance(leaf, Tensor)]
    yield from ((f"held.{place}", tensor) for place, tensor in enumerate(held))
