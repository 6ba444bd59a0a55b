"""A double of a module to be traced: other module objects, the same parameters, and it tells what was done to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from hgfast.graph import source


class Flag(int):
    """The training flag of a module in a trace: a bool that knows whose it is, and tells when it decides something."""

    path: str
    decided: set[str]

    @classmethod
    def of(cls, path: str, training: bool, decided: set[str]) -> Flag:
        """Return the flag of the module at a path; decided: gets the paths of the flags that are looked at."""
        flag = cls(training)
        flag.path, flag.decided = path, decided
        return flag

    def __bool__(self) -> bool:
        self.decided.add(self.path)
        return int(self) != 0

    def __eq__(self, other: object) -> bool:
        self.decided.add(self.path)
        return int(self) == other

    def __hash__(self) -> int:
        return hash(int(self))

    def __repr__(self) -> str:
        return repr(int(self) != 0)


def skeleton(
    module: nn.Module, training: bool | None, plain: Callable[[nn.Module], type], decided: set[str]
) -> nn.Module:
    """Return the double; its modules' flags are Flags of the mode `training`, or of the mode that each is in.

    plain: the class of a part's double; decided: gets the paths of the modules whose flags are looked at.
    """
    memo: dict[int, Any] = {}
    for path, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            kind: Any = plain(part)
            memo[id(part)] = double = kind.__new__(kind)
            object.__setattr__(double, "__dict__", dict(vars(part)))
            mode = part.training if training is None else training
            double.__dict__["training"] = Flag.of(path, mode, decided)
    for double in memo.values():
        for name, value in vars(double).items():
            double.__dict__[name] = _doubled(value, memo)
    return memo[id(module)]


def _doubled(value: Any, memo: dict[int, Any]) -> Any:
    if isinstance(value, nn.Module):
        return memo.get(id(value), value)
    if type(value) in (list, tuple, set):
        return type(value)(_doubled(item, memo) for item in value)
    if type(value) is dict:
        return {key: _doubled(item, memo) for key, item in value.items()}
    return value


def contents(module: nn.Module) -> dict[str, Any]:
    """Return what the attributes of each part are, by path, to be compared later."""
    return {path: _copied(vars(part)) for path, part in module.named_modules()}


def changed(module: nn.Module, before: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield path and attribute of what is not as it was."""
    for path, part in module.named_modules():
        now, then = vars(part), before.get(path, {})
        for name in sorted({*now, *then}):
            if name.startswith(("_tensor_constant", "_tree_spec_constant")) and not path:
                continue
            if not (name in now and name in then and _same(now[name], then[name])):
                yield path, name


def _copied(value: Any) -> Any:
    """Containers with what is in them now; all else itself (kept alive, so that nobody else is taken for it)."""
    kind = type(value)
    if kind is dict:
        return {key: _copied(item) for key, item in value.items()}
    return kind(map(_copied, value)) if kind in (list, tuple) else value


def _same(now: Any, then: Any) -> bool:
    """Containers by what is in them, all else by who it is."""
    kind = type(now)
    if kind is not type(then) or kind not in (dict, list, tuple):
        return now is then
    if len(now) != len(then):
        return False
    if kind is dict:
        return all(key in then and _same(item, then[key]) for key, item in now.items())
    return all(map(_same, now, then))


def class_attributes(module: nn.Module) -> dict[type, dict[str, Any]]:
    """Return what hangs on the classes of all parts, but for torch's and hgfast's own."""
    kinds = {kind for part in module.modules() for kind in type(part).__mro__}
    return {kind: dict(vars(kind)) for kind in kinds if kind is not object and not source.is_known(kind)}


def restored(before: dict[type, dict[str, Any]]) -> Iterator[tuple[type, str]]:
    """Classes and attributes that are not as they were; they are put back."""
    for kind, attributes in before.items():
        now = dict(vars(kind))
        for name in sorted({*now, *attributes}):
            if now.get(name) is not attributes.get(name):
                yield kind, name
                if name in attributes:
                    setattr(kind, name, attributes[name])
                else:
                    delattr(kind, name)
