"""The class of a fused module: its own class with another forward.

A module keeps being what it was for everybody who asks; only its forward pass takes the steps of `Lowered`.
"""

from __future__ import annotations

from functools import cache, wraps
from typing import Any

from torch import nn

from hgfast.fusion.lowered import Lowered

LOWERED = "_hgfast_lowered"
Ways = tuple[Lowered, ...]
"""The forward passes of a module, of which the first one that stands runs: one for both modes, or one for each."""


class Fused:
    """What the classes of fused modules have in common."""

    _hgfast_plain: type[nn.Module]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Name the module's own class in copies and files, for this one is made at run time."""
        return _blank, (self._hgfast_plain,), dict(self.__dict__)


@cache
def _fused_class(plain: Any) -> Any:
    names = ("__module__", "__qualname__", "__doc__")
    inherited = {name: getattr(plain, name) for name in names} | {"_hgfast_plain": plain}
    inherited["forward"] = _lowered_forward(plain)
    return type(plain)(plain.__name__, (Fused, plain), inherited)


def _lowered_forward(plain: Any) -> Any:
    """Return a forward with the name, the signature and the words of the class's own."""

    @wraps(plain.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        for lowered in self.__dict__[LOWERED]:
            runs, result = lowered.run(self, args, kwargs)
            if runs:
                return result
        return plain.forward(self, *args, **kwargs)

    return forward


def _blank(plain: Any) -> nn.Module:
    """Return a fused module of a class, without anything in it."""
    kind = _fused_class(plain)
    return kind.__new__(kind)  # type: ignore[no-any-return]


def is_fused(module: nn.Module) -> bool:
    """Whether the module's forward pass is a lowered one."""
    return isinstance(module, Fused)


def ways_of(module: nn.Module) -> Ways:
    """Return the forward passes of a fused module."""
    ways: Ways = module.__dict__[LOWERED]
    return ways


def put(module: nn.Module, *ways: Lowered) -> None:
    """Give a module, or a fused one, lowered forward passes."""
    if not isinstance(module, Fused):
        plain: Any = type(module)
        module.__class__ = _fused_class(plain)
    module.__dict__[LOWERED] = ways


def take_out(module: nn.Module) -> None:
    """Give a fused module its own forward pass back."""
    if isinstance(module, Fused):
        module.__class__ = module._hgfast_plain  # type: ignore[assignment]
        del module.__dict__[LOWERED]


def plain_class(module: nn.Module) -> type:
    """Return the module's own class."""
    return module._hgfast_plain if isinstance(module, Fused) else type(module)
