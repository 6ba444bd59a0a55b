"""Which way an operator goes on CUDA: by hgfast's kernels or torch's, by the times of whole calls on this card.

A call of an operator is more than its kernel (weights are packed, workspaces cleared), so the ways are timed as they
are gone, on the tensors of the first call of a size. The times stay in the card's table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from hgfast import _switches
from hgfast._kernel_table import Table, as_fields, table_of

if TYPE_CHECKING:
    from hgfast._library import Library

log = logging.getLogger("hgfast")
KERNEL, CONVOLUTIONS, TORCH = "hgfast's kernel", "hgfast's convolutions", "torch's operators"
Ways = Mapping[str, Callable[[], Any]]


def fastest(lib: Library, device: torch.device, name: str, ways: Ways) -> str:
    """Return the fastest way; if noise does not tell several apart, or times do not count, the first one.

    Args:
        lib: the library.
        device: the current one, on CUDA.
        name: of the call, as hgfast.frozen.choices gives it.
        ways: what goes each way; the best expected first.
    """
    from hgfast.frozen.make import is_capturing
    from hgfast.frozen.tune import tunes

    first = next(iter(ways))
    if len(ways) == 1 or not tunes(device):
        return first
    table, call = table_of(lib, device), f"operator: {name}"
    if not all(_is_known(table, way, call) for way in ways) and not is_capturing(device):
        _measure(table, device, call, ways)
    times = {way: table.get(way, call).time for way in ways}
    known = {way: time.counted(launched=True) for way, time in times.items() if time is not None}
    if len(known) < len(ways):
        return first
    shortest = min(known.values(), key=lambda time: time.value)
    return next(way for way, time in known.items() if not time.exceeds(shortest))


def _is_known(table: Table, way: str, call: str) -> bool:
    return table.was_timed_now(way, call) if _switches.tune == "force" else table.get(way, call).time is not None


def _measure(table: Table, device: torch.device, call: str, ways: Ways) -> None:
    """Note the times of all ways, unless there is no memory for it."""
    from hgfast.frozen.tune import Clock

    try:
        clock = Clock(device)
        for go in ways.values():
            go()
        found = clock.times(list(ways.values()))
    except torch.OutOfMemoryError as error:
        log.warning("an operator's way is chosen without times, for lack of memory: %s", error)
        return
    for way, time in zip(ways, found, strict=True):
        table.note(way, call, **as_fields(time))
    table.save()
