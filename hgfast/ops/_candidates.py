"""All kernels that a library has for a convolution or a whole bottleneck, with what its cost model expects of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hgfast.ops._bottleneck_native import BottleneckShape
from hgfast.ops._conv_native import ConvShape, NoKernel

if TYPE_CHECKING:
    from hgfast._library import Library


@dataclass(frozen=True)
class Candidate:
    """csrc/cuda/candidates.h: a kernel with its tile and splits of K.

    algorithm: for `native` and `query` of the sizes; cycles: expected; shared_bytes and threads are a block's,
    registers a thread's; resident_blocks: of one multiprocessor at a time.
    """

    algorithm: int
    kernel: str
    splits: int
    cycles: float
    workspace_bytes: int
    shared_bytes: int
    registers: int
    threads: int
    resident_blocks: int


def has_candidates(lib: Library) -> bool:
    """Whether the library lets choose: that of CUDA does."""
    return hasattr(lib, "conv_candidates")


def conv_candidates(lib: Library, sizes: ConvShape, device: Any = None) -> list[Candidate]:
    """List the kernels for a convolution, the best expected first.

    Args:
        lib: the library, one that `has_candidates`.
        sizes: of the convolution.
        device: another than the current one, `lib.Device(major, minor, multiprocessors, shared_bytes of a block,
            shared_bytes_all, registers, threads)` of a multiprocessor.

    Raises:
        NoKernel: there is none for these sizes.
    """
    try:
        found = lib.conv_candidates(sizes.native(lib), device or lib.current_device())
    except ValueError as error:
        raise NoKernel(str(error)) from None
    return [Candidate(*fields) for fields in found]


def bottleneck_candidates(lib: Library, sizes: BottleneckShape, device: Any = None) -> tuple[list[Candidate], float]:
    """List the kernels for a bottleneck, best first (maybe none), and the cycles expected of three convolutions."""
    found, cycles = lib.bottleneck_candidates(*sizes.native()[:-1], device or lib.current_device())
    return [Candidate(*fields) for fields in found], cycles
