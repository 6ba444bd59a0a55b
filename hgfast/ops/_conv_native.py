"""The native convolution as Python sees it: its sizes, and weights packed for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from hgfast import _native
from hgfast.ops._numbers import in_memory_order, same_bits

if TYPE_CHECKING:
    from hgfast._library import Library


@dataclass(frozen=True)
class ConvShape:
    """csrc/common/conv.h: ConvShape, without the algorithm. A size of 0 for the output means that of the result.

    exact: float32 on CUDA as good as float32 arithmetic, where it would be rounded to tf32 otherwise.
    """

    n: int
    h: int
    w: int
    c: int
    k: int
    kernel: int
    stride: int
    out_h: int = 0
    out_w: int = 0
    extra_h: int = 0
    extra_w: int = 0
    extra_c: int = 0
    extra_stride: int = 1
    dtype: torch.dtype = torch.float32
    exact: bool = False

    @property
    def result(self) -> tuple[int, int]:
        """Height and width of the convolution's result, before any upsampling."""
        return -(-self.h // self.stride), -(-self.w // self.stride)

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of y."""
        return (self.out_h, self.out_w) if self.out_h else self.result

    def native(self, lib: Library, algorithm: int = 0) -> Any:
        """Return the library's ConvShape; algorithm 0 leaves the choice to it."""
        return lib.ConvShape(
            *(self.n, self.h, self.w, self.c, self.k, self.kernel, self.stride, *self.output),
            *(self.extra_h, self.extra_w, self.extra_c, self.extra_stride),
            *(_native.DTYPE_CODES[self.dtype], algorithm, int(self.exact)),
        )


@dataclass(frozen=True)
class ConvNeeds:
    """What the library answers for some sizes: the algorithm it takes, bytes of weights and workspace, a name.

    packing: algorithms of the same number read the same packed weights.
    """

    algorithm: int
    packed_bytes: int
    workspace_bytes: int
    packing: int
    kernel: str


class NoKernel(ValueError):
    """The library has no kernel for some sizes."""


def query(lib: Library, sizes: ConvShape, threads: int, algorithm: int = 0) -> ConvNeeds:
    """Ask the library.

    Raises:
        NoKernel: it has no kernel for these sizes or this dtype.
    """
    try:
        return ConvNeeds(*lib.conv_query(sizes.native(lib, algorithm), threads))
    except ValueError as error:
        raise NoKernel(str(error)) from None


def multiplies_bfloat16(lib: Library) -> bool:
    """Whether the CPU's kernels multiply in bfloat16 here, rather than in float32 what is stored in bfloat16."""
    direct_pairs = 7  # csrc/cpu/conv_layout.h: ConvAlgorithm
    try:
        query(lib, ConvShape(1, 1, 1, 2, 1, 1, 1, dtype=torch.bfloat16), 1, direct_pairs)
    except NoKernel:
        return False
    return True


def pack(
    lib: Library,
    sizes: ConvShape,
    needs: ConvNeeds,
    weight: torch.Tensor,
    extra: torch.Tensor | None,
    exec_handle: int,
    memory: torch.Tensor | None = None,
) -> torch.Tensor:
    """Pack weights (K, C, r, r) and extra (K, C'), float32, in the algorithm's layout; a uint8 tensor.

    memory: `needs.packed_bytes` of uint8 for the result, which begin at a multiple of 64; by default torch's.
    """
    packed = torch.empty(needs.packed_bytes, dtype=torch.uint8, device=weight.device) if memory is None else memory
    weight = weight.float().contiguous()
    extra = None if extra is None else extra.float().contiguous()
    shape = sizes.native(lib, needs.algorithm)
    lib.conv_pack(shape, _native.ptr(weight), _native.ptr(extra), _native.out(packed), exec_handle)
    return packed


_packed: WeakIdKeyDictionary = WeakIdKeyDictionary()  # weight -> (its numbers, {(library, sizes that count): packed})


def packed_weight(
    lib: Library, weight: torch.Tensor, sizes: ConvShape, needs: ConvNeeds, exec_handle: int
) -> torch.Tensor:
    """Pack the weight; on the CPU it is kept as long as the weight lives and holds the same numbers.

    The numbers are compared, for no counter knows of a write through `.data` or numpy; that costs a part of packing (a
    frozen network packs once). On a GPU the host would have to wait for the answer, which it may
    not while a graph is captured: there each call packs anew, in a kernel of its own.
    """
    if _native.on_cuda(weight):
        return pack(lib, sizes, needs, weight.detach(), None, exec_handle)
    numbers, layouts = _packed.get(weight, (None, {}))
    now = in_memory_order(weight)
    if numbers is None or not same_bits(now, numbers):
        layouts = {}
        _packed[weight] = now.clone(), layouts
    key = lib, sizes.dtype, sizes.exact, needs.packing
    if key not in layouts:
        layouts[key] = pack(lib, sizes, needs, weight.detach(), None, exec_handle)
    return layouts[key]
