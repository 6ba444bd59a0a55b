"""Whether weights are what they were."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from hgfast.ops._numbers import in_memory_order, same_bits


class Numbers:
    """A copy of weights. The bits are compared, for no counter knows of a write through `.data` or numpy."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        """weights: on one device."""
        self.copies = [in_memory_order(weight).clone() for weight in weights]

    def are(self, weights: Sequence[Tensor]) -> bool:
        """Whether these weights, as many, hold the same numbers.

        On CUDA the host waits for the answer. While a CUDA graph is captured it cannot: the graph goes on with the
        weights that were folded last.
        """
        now = [in_memory_order(weight) for weight in weights]
        if not now or not now[0].is_cuda:
            return all(same_bits(a, b) for a, b in zip(now, self.copies, strict=True))
        if any(a.shape != b.shape for a, b in zip(now, self.copies, strict=True)):
            return False
        if torch.cuda.is_current_stream_capturing():
            return True
        return bool(torch.stack([(a == b).all() for a, b in zip(now, self.copies, strict=True)]).all())


class Versions:
    """Torch's counters of what was written, and places in memory."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        """weights: as they are folded."""
        self.marks = _marks(weights)

    def are(self, weights: Sequence[Tensor]) -> bool:
        """Whether nothing that torch counts was done to them."""
        return self.marks == _marks(weights)


def _marks(weights: Sequence[Tensor]) -> list[tuple[int, int]]:
    return [(weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in weights]


class Same:
    """The weights themselves, which may go; others may have their ids then."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        """weights: as they are folded."""
        self.references = [weakref.ref(weight) for weight in weights]

    def are(self, weights: Sequence[Tensor]) -> bool:
        """Whether these are they."""
        return all(reference() is weight for reference, weight in zip(self.references, weights, strict=True))
