"""What the code of a module's forward pass names: globals it reads and sets, methods of tensors that it calls.

A comparison of numbers cannot see what has no effect yet: a global that is 1 now, a list that features are put into.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from functools import cache
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

FIXED = (ModuleType, FunctionType, BuiltinFunctionType, type)  # what a name may stand for without being a setting
KNOWN = ("torch", "hgfast")  # packages whose code is not read
CONSTANTS = (bool, int, float, complex, str, bytes, tuple, frozenset, torch.dtype, torch.device, torch.Size, MethodType)
OF_CALLS = {
    *("__call__", "_call_impl", "_wrapped_call_impl", "__getattr__", "__getattribute__", "__setattr__"),
    *("__reduce__", "__reduce_ex__", "__deepcopy__", "__getstate__", "__setstate__"),
}  # methods by which a class could do more than its forward says, or be copied in its own way
AUTOCAST = {"autocast", "is_autocast_enabled", "get_autocast_dtype", "custom_fwd"}  # which a capture takes as it is


@cache
def objection(kind: type[nn.Module]) -> str | None:
    """Why what a module of a class computes now says too little; None if nothing speaks against it."""
    if is_known(kind):
        return None
    changed = sorted(_own_names(kind) & OF_CALLS)
    if changed:
        return f"its class has a {changed[0]} of its own"
    return _first_setting(kind, FIXED)


@cache
def side_effect(kind: type[nn.Module]) -> str | None:
    """Say what a forward changes, or may change, outside of its module: globals, or what they contain."""
    return None if is_known(kind) else _first_setting(kind, (*FIXED, *CONSTANTS))


def _first_setting(kind: type[nn.Module], allowed: tuple[type, ...]) -> str | None:
    found = (_setting(function, allowed) for function in _functions(kind))
    return next((f"its forward {setting}" for setting in found if setting), None)


@cache
def names(kind: type[nn.Module]) -> frozenset[str]:
    """Attributes and globals that the code of a class's forward pass names; none for torch's and hgfast's classes."""
    if is_known(kind):
        return frozenset()
    return frozenset(name for function in _functions(kind) for code in _codes(function) for name in code.co_names)


def is_known(thing: Any) -> bool:
    """Whether a class or function is torch's or hgfast's."""
    return (getattr(thing, "__module__", None) or "").partition(".")[0] in KNOWN


def _own_names(kind: type) -> set[str]:
    own = (base for base in kind.__mro__ if not is_known(base) and base is not object)
    return {name for base in own for name in vars(base)}


def _functions(kind: type) -> Iterator[FunctionType]:
    """Forward, and the Python functions and methods that it names in turn, torch's and hgfast's left out."""
    pending: list[Any] = [kind.forward]  # type: ignore[attr-defined]
    seen: set[Any] = set()
    while pending:
        function = pending.pop()
        if not isinstance(function, FunctionType) or function in seen or is_known(function):
            continue
        seen.add(function)
        yield function
        pending += [getattr(function, "__wrapped__", None)]
        pending += [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
        for name in {name for code in _codes(function) for name in code.co_names}:
            member = inspect.getattr_static(kind, name, None)
            pending += [getattr(member, "fget", None) or getattr(member, "__func__", member)]
            pending += [function.__globals__.get(name)]


def _codes(function: FunctionType) -> Iterator[CodeType]:
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        yield code
        pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _setting(function: FunctionType, allowed: tuple[type, ...]) -> str | None:
    """Return the first value from outside, of no allowed type, that a function reads, or the first one that it sets."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if _filled(cell) and not isinstance(cell.cell_contents, allowed):
            return f"reads the variable {name}"
    for code in _codes(function):
        chain: list[str] = []
        for step in dis.get_instructions(code):
            if step.opname == "STORE_GLOBAL" or (step.opname == "STORE_ATTR" and chain):
                return f"sets {'.'.join([*chain, step.argval])}"
            if step.argval in AUTOCAST and step.opname.startswith("LOAD_"):
                return f"asks for {step.argval}"
            if step.opname == "LOAD_GLOBAL":
                chain = [step.argval]
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
                chain.append(step.argval)
            else:
                chain = []
            if chain and not _is_fixed(function, chain, allowed):
                return f"reads the global {'.'.join(chain)}"
    return None


def _is_fixed(function: FunctionType, chain: list[str], allowed: tuple[type, ...]) -> bool:
    """Whether a dotted name stands for a function, class or package, or is one of torch's."""
    builtins = function.__builtins__  # type: ignore[attr-defined]
    missing = object()
    value = function.__globals__.get(chain[0], builtins.get(chain[0], missing))
    for name in chain[1:]:
        if is_known(value) or getattr(value, "__name__", "").partition(".")[0] in KNOWN:
            return True
        value = getattr(value, name, missing)
    return value is missing or isinstance(value, allowed)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
