"""Tickets: counters by which the blocks of a CUDA kernel know which of them is last, so that it can finish the work.

They are zero between launches, for the last block sets them back. Launches that may run at the same time must not share
any, so there are some for each stream. A launch that is being captured may be replayed beside anything else: tickets of
a capture are its own, in the graph's memory, and the graph begins by setting them to zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgfast import _native

if TYPE_CHECKING:
    from hgfast._library import Library

LEAST = 4096  # that are made at once
_of_stream: dict[tuple[torch.device, int], Tensor] = {}
_of_capture: dict[tuple[torch.device, int], tuple[int, Tensor]] = {}
"""The latest capture of each stream. When it is over the graph's memory may have other uses: the graph's own first node
comes before all that counts."""


def tickets(lib: Library, x: Tensor, count: int) -> Tensor | None:
    """`count` tickets for a kernel on x's current stream; None where it needs none.

    lib: the native library of x's device.
    """
    if not count:
        return None
    stream = _native.exec_handle(x)
    key, capture = (x.device, stream), lib.capture_id(stream)
    if not capture:
        found = _of_stream.get(key)
        if found is None or found.numel() < count:
            found = _of_stream[key] = _make(x, count)
        return found[:count]
    number, of_capture = _of_capture.get(key, (0, None))
    if of_capture is None or number != capture or of_capture.numel() < count:
        of_capture = _make(x, count)
        _of_capture[key] = capture, of_capture
    return of_capture[:count]


def _make(x: Tensor, count: int) -> Tensor:
    return torch.zeros(max(LEAST, 1 << (count - 1).bit_length()), dtype=torch.int32, device=x.device)
