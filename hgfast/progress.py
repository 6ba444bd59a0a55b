"""Progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(title: str, quiet: bool = False, total: int | None = None) -> Callable[[Iterable[Any]], tqdm[Any]]:
    """Return a function that wraps an iterable with a bar, which goes away when done; total: of what has no length."""
    return lambda items: tqdm(items, title, total, disable=quiet, leave=False, dynamic_ncols=True)
