"""Sizes that code takes from values: `x.shape[2:]`, `(x.size(2), x.size(3))` and the like."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx


def size_of(size: Any) -> fx.Node | None:
    """Return the node whose height and width a size is, if it is that."""
    if isinstance(size, (tuple, list)) and len(size) == 2:
        sources = [_one_size(part, i) for i, part in enumerate(size)]
        return sources[0] if sources[0] is not None and sources[0] is sources[1] else None
    if not isinstance(size, fx.Node) or size.target is not operator.getitem:
        return None
    shape, index = size.args
    whole = isinstance(index, slice) and (index.start, index.stop, index.step) in ((-2, None, None), (2, None, None))
    return _shaped(shape) if whole else None


def _one_size(part: Any, i: int) -> fx.Node | None:
    """Return the node whose height (i = 0) or width (1) this is."""
    if not isinstance(part, fx.Node):
        return None
    if part.op == "call_method" and part.target == "size" and part.args[1:] in ((2 + i,), (i - 2,)):
        return part.args[0]  # type: ignore[return-value]
    if part.target is operator.getitem and part.args[1] in (2 + i, i - 2):
        return _shaped(part.args[0])
    if part.target is operator.getitem and part.args[1] == i:
        return size_of(part.args[0])
    return None


def _shaped(node: Any) -> fx.Node | None:
    """Return the node whose whole shape this is."""
    if not isinstance(node, fx.Node):
        return None
    if node.op == "call_method" and node.target == "size" and len(node.args) == 1 and not node.kwargs:
        return node.args[0]  # type: ignore[return-value]
    return node.args[0] if node.target is getattr and node.args[1] == "shape" else None  # type: ignore[return-value]
