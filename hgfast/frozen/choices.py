"""Which kernel runs each call of a plan: of those that a library has, the best one that is not known to be wrong.

On the CPU the library's own choice. CUDA's library lists all its kernels; the table of the card
(hgfast._kernel_table) knows which were found wrong. After the kernels comes torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from hgfast._kernel_table import Finding, Table
from hgfast.frozen.graph import BottleneckCall, ConvCall, NativeCall, PoolCall, Value
from hgfast.frozen.torch_step import TORCH_ALONE, WITH_POINTWISE
from hgfast.ops import _bottleneck_native, _conv_native
from hgfast.ops._bottleneck_native import BottleneckNeeds, BottleneckSizes
from hgfast.ops._candidates import Candidate, bottleneck_candidates, conv_candidates, has_candidates
from hgfast.ops._conv_native import ConvNeeds, ConvSizes

Needs = ConvNeeds | BottleneckNeeds
POOL = ConvNeeds(0, 0, 0, 0, "max_pool")


def label(needs: Needs) -> str:
    """A kernel's name in tables and messages."""
    splits = needs.algorithm // 16 if isinstance(needs, ConvNeeds) else 1
    return f"{needs.kernel}, K in {splits} parts" if splits > 1 else needs.kernel


def conv_name(call: ConvCall, sizes: ConvSizes) -> str:
    """All that a kernel's work depends on: convolutions of the same name are the same call."""
    s = sizes
    parts = [f"{s.kernel}x{s.kernel}/{s.stride} {s.n}x{s.h}x{s.w}x{s.c} to {s.output[0]}x{s.output[1]}x{s.k}"]
    if call.extra is not None:
        parts.append(f"1x1/{s.extra_stride} {s.extra_h}x{s.extra_w}x{s.extra_c}")
    parts += ["residual"] * (call.residual is not None) + ["ReLU"] * call.relu + _ends(call.upsample_to, call)
    return f"{' + '.join(parts)}, {_dtype(sizes.dtype)}{' exact' * sizes.exact}"


def block_name(call: BottleneckCall, sizes: BottleneckSizes) -> str:
    """As conv_name."""
    s = sizes
    parts = [f"bottleneck of {s.m}, {s.n}x{s.h}x{s.w}x{s.c} to {s.output[0]}x{s.output[1]}"]
    return f"{' + '.join(parts + _ends(call.upsample_to, call))}, {_dtype(sizes.dtype)}"


def pool_name(call: PoolCall, shapes: dict[Value, tuple[int, int, int]], batch: int, dtype: torch.dtype) -> str:
    """As conv_name."""
    c, h, w = shapes[call.x]
    return f"{' + '.join([f'2x2 max-pool {batch}x{h}x{w}x{c}', *_ends(None, call)])}, {_dtype(dtype)}"


def _ends(upsample_to: Value | None, call: NativeCall) -> list[str]:
    return ["merge"] * (upsample_to is not None) + ["BN-ReLU"] * (call.second is not None)


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def shortlist(candidates: list[Candidate]) -> list[Candidate]:
    """Of candidates, best first, each kernel's best, and its best without a split of K."""
    seen: set[tuple[str, bool]] = set()
    best: list[Candidate] = []
    for candidate in candidates:
        kind = candidate.kernel, candidate.splits > 1
        if kind not in seen:
            seen.add(kind)
            best.append(candidate)
    return best


class Choices:
    """The kernels of plans; `names` gets those of the calls that were asked for, by their outputs."""

    def __init__(
        self,
        lib: Any,
        threads: int,
        table: Table | None = None,
        possible: Callable[[NativeCall, Needs], bool] | None = None,
    ) -> None:
        """Choose.

        Args:
            lib: the native module.
            threads: of the CPU.
            table: of the card; None where nothing is known of kernels but what the library expects of them.
            possible: whether a kernel can have a call; one that cannot is taken where there is no other.
        """
        self.lib, self.threads, self.table, self.possible = lib, threads, table, possible
        self.listed = has_candidates(lib)
        self.names: dict[Value, str] = {}

    def finding(self, needs: Needs, name: str) -> Finding:
        """What is known of a kernel for a call."""
        return Finding() if self.table is None else self.table.get(label(needs), name)

    def conv(self, call: ConvCall, sizes: ConvSizes) -> ConvNeeds:
        """The kernel of a convolution.

        Raises:
            NoKernel: there is none.
        """
        self.names[call.output] = conv_name(call, sizes)
        if not self.listed:
            return _conv_native.query(self.lib, sizes, self.threads)
        return self._first_right(self._convs(sizes), call) or TORCH_ALONE

    def block(self, call: BottleneckCall, sizes: BottleneckSizes) -> BottleneckNeeds | None:
        """The kernel of a whole bottleneck; None where its three convolutions are expected to be faster."""
        if not self.listed:
            needs = _bottleneck_native.query(self.lib, sizes, self.threads)
            return needs if needs is not None and needs.pays else None
        found, three = bottleneck_candidates(self.lib, sizes)
        kernels = (
            _bottleneck_native.query(self.lib, sizes, self.threads, c.algorithm) for c in found if c.cycles < three
        )
        self.names[call.output] = block_name(call, sizes)
        return self._first_right((kernel for kernel in kernels if kernel is not None), call)

    def pool(
        self, call: PoolCall, shapes: dict[Value, tuple[int, int, int]], batch: int, dtype: torch.dtype
    ) -> ConvNeeds:
        """The kernel of a pooling."""
        self.names[call.output] = pool_name(call, shapes, batch, dtype)
        return self._first_right(iter((POOL,)), call) or TORCH_ALONE

    def _convs(self, sizes: ConvSizes) -> Iterator[ConvNeeds]:
        for candidate in shortlist(conv_candidates(self.lib, sizes)):
            yield _conv_native.query(self.lib, sizes, self.threads, candidate.algorithm)
        yield WITH_POINTWISE

    def _first_right(self, kernels: Iterator[Any], call: NativeCall) -> Any:
        name = self.names[call.output]
        right = [kernel for kernel in kernels if self.finding(kernel, name).right is not False]
        possible = [kernel for kernel in right if self.possible is None or self.possible(call, kernel)]
        return next(iter(possible or right), None)
