"""Modules that take over the children of another one: same parameters, buffers and keys, another forward."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def adopt(kind: type[M], origin: nn.Module, names: Iterable[str], **attributes: Any) -> M:
    """Return a module of a kind that shares the named children of origin.

    The constructor of kind is not called; attributes are what it would have set. They may hold new children.
    """
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    module.training = origin.training
    kept = set(names)
    for name, child in origin._modules.items():
        if name in kept:
            module.register_module(name, child)
    for name, value in attributes.items():
        setattr(module, name, value)
    return module
