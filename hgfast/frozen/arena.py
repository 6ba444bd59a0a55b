"""Places of activations in one reused workspace."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hgfast.frozen.coded_graph import CodedCall, made_by
from hgfast.frozen.graph import BottleneckCall, Graph, PointwiseCall, PoolCall, Value
from hgfast.frozen.torch_call import TorchCall

ALIGNMENT = 256  # bytes


def last_uses(graph: Graph) -> dict[Value, int]:
    """Return for each value the last call that reads it; of one that nobody reads, the call that makes it."""
    last = {}
    for index, call in enumerate(graph.calls):
        for value in made_by(call):
            last[value] = index
        for value in call.inputs():
            last[value] = index
    return last


def in_place_of(call: Any) -> Value | None:
    """Return the input whose memory the output may take, read element by element just before; None if none.

    A whole bottleneck reads its input around each pixel, so that only what it is merged into may be written over.
    """
    if isinstance(call, PointwiseCall):
        return call.x
    if isinstance(call, (PoolCall, TorchCall, CodedCall)):
        return None
    if isinstance(call, BottleneckCall) or call.upsample_to is not None:
        return call.upsample_to
    return call.residual


class Arena:
    """First-fit allocation of byte ranges; `size` is the most that was ever in use."""

    def __init__(self) -> None:
        """Begin with nothing placed."""
        self.size = 0
        self._used: list[tuple[int, int]] = []

    def allocate(self, nbytes: int) -> int:
        """Offset of a free range."""
        length, offset = -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT, 0
        for begin, end in self._used:
            if begin - offset >= length:
                break
            offset = end
        self._used.append((offset, offset + length))
        self._used.sort()
        self.size = max(self.size, offset + length)
        return offset

    def free(self, offset: int) -> None:
        """Give a range back."""
        self._used = [used for used in self._used if used[0] != offset]


def place(graph: Graph, nbytes: dict[Value, int], external: Collection[Value]) -> tuple[dict[Value, int], int]:
    """Offsets of all values that are not external, and the size of the workspace.

    Two values share memory only if their lifetimes do not overlap, or if the one is made in place of the other, which
    ends with that call.
    """
    last, arena, offsets = last_uses(graph), Arena(), dict[Value, int]()
    for index, call in enumerate(graph.calls):
        victim = in_place_of(call)
        if victim is not None and victim in offsets and last[victim] == index and call.output not in external:
            alone = list(call.inputs()).count(victim) == 1 and nbytes[victim] == nbytes[call.output]
        else:
            alone = False
        if victim is not None and alone:
            offsets[call.output] = offsets[victim]
        else:
            victim = None
        for value in made_by(call):
            if value not in offsets and value not in external:
                offsets[value] = arena.allocate(nbytes[value])
        for value in {*call.inputs(), *made_by(call)} - {victim}:
            if value in offsets and last[value] == index:
                arena.free(offsets[value])
    return offsets, arena.size
