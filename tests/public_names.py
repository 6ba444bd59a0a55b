"""Every public name of hgfast with the names of its arguments: `python -m tests.public_names` writes them down.

What users may import is what stands in `__all__` of hgfast and of its public packages. A name that goes, or an argument
that is renamed, breaks their code: the difference of tests/data/public_names.txt shows it in the review.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hgfast

RECORD = Path(__file__).with_name("data") / "public_names.txt"


def public_names() -> list[str]:
    """A line for each name, and for each public method of a class of hgfast's."""
    lines: list[str] = []
    for place in ("hgfast", *(f"hgfast.{package}" for package in hgfast._PACKAGES)):
        module = importlib.import_module(place)
        for name in sorted(module.__all__):
            found = getattr(module, name)
            if not isinstance(found, ModuleType):
                lines += _lines(f"{place}.{name}", found)
    return lines


def _lines(name: str, found: Any) -> Iterator[str]:
    yield name + _arguments(found)
    if not inspect.isclass(found):
        return
    for key, member in sorted(vars(found).items()):
        if not key.startswith("_") and (callable(member) or isinstance(member, (property, classmethod, staticmethod))):
            yield f"{name}.{key}" + _arguments(getattr(found, key))


def _arguments(found: Any) -> str:
    """(a, b) of functions and classes; nothing for values and errors."""
    is_error = inspect.isclass(found) and issubclass(found, Exception)
    if is_error or not (inspect.isclass(found) or inspect.isroutine(found)):
        return ""
    return f"({', '.join(name for name in inspect.signature(found).parameters if name != 'self')})"


if __name__ == "__main__":
    RECORD.write_text("".join(f"{line}\n" for line in public_names()))
