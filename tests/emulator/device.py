"""Routes ops on CPU tensors to the emulated CUDA kernels."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch

from hgfast import _native, _switches
from hgfast.frozen.plan import Plan
from tests.emulator.build import build
from tests.emulator.memory import READ, READ_WRITE, WRITE, Address, Device


class Library:
    """What `_native.library` gives under the emulator: the functions of hgfast._cuda, on copies of their tensors."""

    def __init__(self, variant: str) -> None:
        """variant: "fast" or "check"."""
        path = os.environ.get("HGFAST_EMULATOR_MODULE") or str(build(variant))
        self._module = _import(path)
        self.device = Device(path)
        self.__file__ = path

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._module, name)
        return lambda *args: self.device.call(function, args, name)


def _import(path: str) -> ModuleType:
    loader = importlib.machinery.ExtensionFileLoader("_cuda", path)
    spec = importlib.util.spec_from_loader("_cuda", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


_libraries: dict[str, Library] = {}


def default_variant() -> str:
    """$HGFAST_EMULATOR_VARIANT, or "fast"."""
    return os.environ.get("HGFAST_EMULATOR_VARIANT", "fast")


def load(variant: str | None = None) -> Library:
    """The emulator's library, built on first use."""
    variant = variant or default_variant()
    if variant not in _libraries:
        _libraries[variant] = Library(variant)
    return _libraries[variant]


def default_schedule() -> dict[str, Any]:
    """$HGFAST_EMULATOR_SCHEDULE, e.g. "shuffled,eager,7"; "forward,lazy" where it is not set."""
    parts = os.environ.get("HGFAST_EMULATOR_SCHEDULE", "forward,lazy").split(",")
    return {"order": parts[0], "asynchronous": parts[1], "seed": int(parts[2]) if len(parts) > 2 else 1}


@contextlib.contextmanager
def emulated_cuda(variant: str | None = None, verify: bool = False, **schedule: Any) -> Iterator[Device]:
    """Within it, hgfast's ops on CPU tensors run the emulated CUDA kernels.

    Args:
        variant: "fast" or "check".
        verify: whether frozen networks try their kernels first and do without those that fail, as on a GPU.
        schedule: order ("forward", "reverse", "shuffled"), asynchronous ("lazy", "eager", "mixed"), seed.
    """
    library = load(variant)
    library.device.schedule(**{**default_schedule(), **schedule})
    replaced: dict[str, Any] = {
        "library": lambda device_type: library,
        "on_cuda": lambda tensor: True,
        "ptr": lambda tensor: _address(tensor, READ),
        "inout": lambda tensor: _address(tensor, READ_WRITE),
        "out": lambda tensor: _address(tensor, WRITE),
    }
    saved, disabled, replace = {name: getattr(_native, name) for name in replaced}, _switches.disabled, Plan._replace
    for name, function in replaced.items():
        setattr(_native, name, function)
    if not verify:
        Plan._replace = _raise  # type: ignore[method-assign]
    _switches.disabled = disabled - {_switches.VERIFY} if verify else disabled | {_switches.VERIFY}
    try:
        yield library.device
    finally:
        _switches.disabled = disabled
        Plan._replace = replace  # type: ignore[method-assign]
        for name, function in saved.items():
            setattr(_native, name, function)


def _raise(plan: Plan, index: int, error: Exception) -> None:
    """In the place of another kernel: the tests are to see what is wrong with this one."""
    raise error


def _address(tensor: torch.Tensor | None, access: int) -> int:
    return 0 if tensor is None else Address(tensor, access)
