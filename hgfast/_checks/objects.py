"""Paths, functions, instances of classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hgfast._checks.text import at, describe, short


def path(where: str, name: str, value: Any) -> Path:
    """Return a path that the operating system can take.

    Raises:
        TypeError: no str or path.
        ValueError: empty, or with a zero byte.
    """
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{at(where, name)} must be a path, got {describe(value)}")
    text = os.fspath(value)
    if not text or "\0" in text:
        raise ValueError(f"{at(where, name)} must be a path, got {short.repr(text)}")
    return Path(text)


def instance(where: str, name: str, value: Any, *kinds: type) -> None:
    """Require an instance of one of these classes.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{at(where, name)} must be a {names}, got {describe(value)}")


def function(where: str, name: str, value: Any) -> None:
    """Something that can be called.

    Raises:
        TypeError: anything else.
    """
    if not callable(value):
        raise TypeError(f"{at(where, name)} must be a function, got {describe(value)}")
