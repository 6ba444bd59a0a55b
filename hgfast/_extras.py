"""Packages that only some commands need."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, purpose: str) -> Any:
    """A module of an optional package, to be asked for before the work whose results it is to write or measure.

    Raises:
        ImportError: it is not installed; the message says who needs it and what installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ImportError(f"{purpose} needs {package} (pip install 'hgfast[train]')") from None
