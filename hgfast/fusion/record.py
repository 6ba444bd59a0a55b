"""Records which of torch's functions a forward pass calls, and whether it decides by the size of its input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

SAME = {"upsample": "interpolate", "upsample_nearest": "interpolate", "iadd": "add", "radd": "add"}
HARMLESS = {"dim", "get ndim", "get requires_grad", "clone", "contiguous", "size", "get shape"}  # no change of values


class Recorder(TorchFunctionMode):
    """Counts calls by name while it is active.

    Attributes:
        calls: how often each function was called; in-place forms count as the others.
        decides: whether a height, width or batch size was compared with anything, torch's functions apart.
    """

    def __init__(self, channels_too: bool = False) -> None:
        """channels_too: comparing the number of channels is deciding, too."""
        super().__init__()
        self.channels_too = channels_too
        self.calls: Counter[str] = Counter()
        self.decides = self.inside = False

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of each of its functions."""
        name = getattr(function, "__name__", str(function))
        if name in ("__get__", "__set__"):
            owner = getattr(getattr(function, "__self__", None), "__name__", "")
            name = f"{name.strip('_')} {owner}"
        name = name.strip("_")
        self.inside = True
        result = function(*args, **(kwargs or {}))
        self.inside = False
        if name in ("get shape", "size"):
            return self._watched(result, args[1:])
        if name not in HARMLESS:
            self.calls[SAME.get(name, name)] += 1
        return result

    def _watched(self, result: Any, which: tuple[Any, ...]) -> Any:
        """The size, or one of its numbers, with all numbers watched, that of the channels if wanted."""
        if isinstance(result, int):
            return result if which in ((1,), (-3,)) and not self.channels_too else Watched.of(self, result)
        return torch.Size(
            [size if i == 1 and not self.channels_too else Watched.of(self, size) for i, size in enumerate(result)]
        )


class Watched(int):
    """A size that tells its recorder when somebody decides by it."""

    recorder: Recorder

    @classmethod
    def of(cls, recorder: Recorder, value: int) -> Watched:
        """A watched number."""
        number = cls(value)
        number.recorder = recorder
        return number


def _deciding(name: str) -> Callable[..., Any]:
    def method(self: Watched, *args: Any) -> Any:
        self.recorder.decides |= not self.recorder.inside
        return getattr(int, name)(self, *args)

    return method


def _calculating(name: str) -> Callable[..., Any]:
    def method(self: Watched, *args: Any) -> Any:
        result = getattr(int, name)(self, *args)
        return Watched.of(self.recorder, result) if isinstance(result, int) else result

    return method


for _name in ("lt", "le", "gt", "ge", "eq", "ne", "bool", "hash"):
    setattr(Watched, f"__{_name}__", _deciding(f"__{_name}__"))
for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "floordiv", "rfloordiv", "mod", "rmod", "neg", "and"):
    setattr(Watched, f"__{_name}__", _calculating(f"__{_name}__"))
