"""What a module's code reads of its own attributes: a captured forward pass holds as long as they are the same."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hgfast.graph import source

PLAIN = (bool, int, float, complex, str, bytes, type(None), range, torch.dtype, torch.device, torch.memory_format)
HOLDERS = (list, tuple, dict, set)
OF_TORCH = frozenset(vars(nn.Module()))
MISSING = object()

Settings = tuple[tuple[str, Any], ...]
Parts = tuple[tuple[str, Any], ...]


def parts_of(module: nn.Module) -> Parts:
    """Name the parts that a module has, in lists and dicts of modules, too: its code may go through them."""
    return tuple((name, _part(child)) for name, child in module._modules.items())


def _part(child: nn.Module | None) -> Any:
    return parts_of(child) if isinstance(child, (nn.ModuleList, nn.ModuleDict)) else child is not None


def layer_settings(layer: nn.Module) -> Settings:
    """Return what one of torch's layers without parameters was made with."""
    names: tuple[str, ...] = tuple(getattr(type(layer), "__constants__", ()))
    return tuple((name, getattr(layer, name, None)) for name in names)


def settings_of(module: nn.Module) -> Settings | None:
    """Attributes that the code of the module's forward names, and their values; None if one cannot be compared later.

    Modules, parameters and buffers are no settings, nor are methods.
    """
    found = []
    for name in sorted(source.names(type(module)) - OF_TORCH):  # type: ignore[arg-type]
        value = _value(module, name)
        if value is MISSING:
            continue
        if not _comparable(value):
            return None
        found.append((name, copy.deepcopy(value)))
    return tuple(found)


def are_same(module: nn.Module, settings: Settings) -> bool:
    """Whether a module's attributes are what they were."""
    return all(_same(_value(module, name), value) for name, value in settings)


def _value(module: nn.Module, name: str) -> Any:
    """Return an attribute that is a setting: of the module, or a plain one of its class."""
    value = vars(module).get(name, MISSING)
    if value is MISSING and name not in module._modules and name not in module._parameters:
        value = getattr(type(module), name, MISSING)
        return value if isinstance(value, (*PLAIN, *HOLDERS)) else MISSING
    return MISSING if isinstance(value, (nn.Module, Tensor)) or callable(value) else value


def _comparable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_comparable, value)) and all(map(_comparable, value.values()))
    if isinstance(value, HOLDERS):
        return all(map(_comparable, value))
    return isinstance(value, PLAIN) or callable(value)


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and bool(a == b))
