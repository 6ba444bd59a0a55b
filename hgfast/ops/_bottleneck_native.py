"""The native pre-activation bottleneck as Python sees it: its sizes, and what a library has for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hgfast import _native
from hgfast.ops._conv_native import ConvShape

if TYPE_CHECKING:
    from hgfast._library import Library


@dataclass(frozen=True)
class BottleneckShape:
    """csrc/common/bottleneck.h: BottleneckShape, without the algorithm. Output size 0 means (h, w)."""

    n: int
    h: int
    w: int
    c: int
    m: int
    out_h: int = 0
    out_w: int = 0
    dtype: torch.dtype = torch.float32

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of y."""
        return (self.out_h, self.out_w) if self.out_h else (self.h, self.w)

    @property
    def convs(self) -> tuple[ConvShape, ConvShape, ConvShape]:
        """The sizes that the weights of the three convolutions are packed for."""
        n, h, w, c, m, dtype = self.n, self.h, self.w, self.c, self.m, self.dtype
        return (
            ConvShape(n, h, w, c, m, 1, 1, dtype=dtype),
            ConvShape(n, h, w, m, m, 3, 1, dtype=dtype),
            ConvShape(n, h, w, m, c, 1, 1, *self.output, dtype=dtype),
        )

    def native(self, algorithm: int = 0) -> tuple[int, int, int, int, int, int, int, int, int]:
        """Return the arguments that stand for a BottleneckShape; algorithm 0 leaves the choice to the library."""
        dtype = _native.DTYPE_CODES[self.dtype]
        return self.n, self.h, self.w, self.c, self.m, *self.output, dtype, algorithm


@dataclass(frozen=True)
class BottleneckNeeds:
    """What the library answers: its algorithm, whether it is expected to be faster than three convolutions, the
    algorithms for which those are packed, workspace, a name."""

    algorithm: int
    pays: bool
    conv_algorithms: tuple[int, int, int]
    workspace_bytes: int
    kernel: str


def query(lib: Library, sizes: BottleneckShape, threads: int, algorithm: int = 0) -> BottleneckNeeds | None:
    """Ask the library; None if it has no kernel of a whole block that takes these sizes.

    Raises:
        ValueError: the library does not take the algorithm that was asked for.
    """
    if not hasattr(lib, "bottleneck_query"):
        return None
    found, pays, first, second, third, workspace_bytes, kernel = lib.bottleneck_query(*sizes.native(algorithm), threads)
    return BottleneckNeeds(found, pays, (first, second, third), workspace_bytes, kernel) if found else None
