"""Which kernel runs each call of a plan: of those that a library has, the best one that is not known to be wrong.

On the CPU the library's own choice. CUDA's library lists all its kernels; the table of the card
(hgfast._kernel_table) knows which were found wrong (hgfast.frozen.verify), and how long they take (hgfast.frozen.tune):
the fastest is taken, and of those that the noise of their times does not tell apart, the one that is expected to be.
After the kernels comes torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import torch

from hgfast._kernel_table import Finding, Table
from hgfast._times import Time
from hgfast.frozen.graph import BottleneckCall, ConvCall, NativeCall, PlainCall, PoolCall, Value
from hgfast.frozen.torch_step import TORCH_ALONE, WITH_POINTWISE
from hgfast.ops import _bottleneck_native, _conv_native
from hgfast.ops._bottleneck_native import BottleneckNeeds, BottleneckShape
from hgfast.ops._candidates import Candidate, bottleneck_candidates, conv_candidates, has_candidates
from hgfast.ops._conv_native import ConvNeeds, ConvShape

if TYPE_CHECKING:
    from hgfast._library import Library

Needs = ConvNeeds | BottleneckNeeds
POOL, POINTWISE = ConvNeeds(0, 0, 0, 0, "max_pool"), ConvNeeds(0, 0, 0, 0, "batch_norm_act")


def label(needs: Needs) -> str:
    """Return a kernel's name in tables and messages."""
    splits = needs.algorithm // 16 if isinstance(needs, ConvNeeds) else 1
    return f"{needs.kernel}, K in {splits} parts" if splits > 1 else needs.kernel


def conv_name(call: ConvCall, sizes: ConvShape) -> str:
    """Name all that a kernel's work depends on: convolutions of the same name are the same call."""
    s = sizes
    parts = [f"{s.kernel}x{s.kernel}/{s.stride} {s.n}x{s.h}x{s.w}x{s.c} to {s.output[0]}x{s.output[1]}x{s.k}"]
    if call.extra is not None:
        parts.append(f"1x1/{s.extra_stride} {s.extra_h}x{s.extra_w}x{s.extra_c}")
    parts += ["residual"] * (call.residual is not None) + ["ReLU"] * call.relu + _ends(call.upsample_to, call)
    return f"{' + '.join(parts)}, {_dtype(sizes.dtype)}{' exact' * sizes.exact}"


def block_name(call: BottleneckCall, sizes: BottleneckShape) -> str:
    """Name a block as conv_name does a convolution."""
    s = sizes
    parts = [f"bottleneck of {s.m}, {s.n}x{s.h}x{s.w}x{s.c} to {s.output[0]}x{s.output[1]}"]
    return f"{' + '.join(parts + _ends(call.upsample_to, call))}, {_dtype(sizes.dtype)}"


def plain_name(call: PlainCall, shapes: dict[Value, tuple[int, int, int]], batch: int, dtype: torch.dtype) -> str:
    """Name a plain call as conv_name does a convolution."""
    c, h, w = shapes[call.x]
    size = f"{batch}x{h}x{w}x{c}"
    if isinstance(call, PoolCall):
        parts = [f"2x2 max-pool {size}", *_ends(None, call)]
    else:
        parts = [f"BN {size}"] + ["residual"] * (call.residual is not None) + ["ReLU"] * call.relu
    return f"{' + '.join(parts)}, {_dtype(dtype)}"


def _ends(upsample_to: Value | None, call: NativeCall) -> list[str]:
    return ["merge"] * (upsample_to is not None) + ["BN-ReLU"] * (call.second is not None)


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def shortlist(candidates: list[Candidate]) -> list[Candidate]:
    """Choose of candidates, best first, each kernel's best, and its best without a split of K."""
    seen: set[tuple[str, bool]] = set()
    best: list[Candidate] = []
    for candidate in candidates:
        kind = candidate.kernel, candidate.splits > 1
        if kind not in seen:
            seen.add(kind)
            best.append(candidate)
    return best


class Choices:
    """The kernels of plans.

    `names` gets those of the calls that were asked for, by their outputs; `kernels` all that could run a call, by its
    name, the best expected first. blocks: whether whole bottlenecks are taken wherever they can be, or never; None
    where they are the faster ones.
    """

    def __init__(
        self,
        lib: Library,
        threads: int,
        table: Table | None = None,
        timed: bool = False,
        possible: Callable[[NativeCall, Needs], bool] | None = None,
        launched: bool = True,
        by_torch: bool = True,
    ) -> None:
        """Choose.

        Args:
            lib: the native module.
            threads: of the CPU.
            table: of the card; None where nothing is known of kernels but what the library expects of them.
            timed: whether the times in the table count.
            possible: whether a kernel can have a call; one that cannot is taken where there is no other.
            launched: whether calls are launched one by one, so that the host's time counts; else as a CUDA graph.
            by_torch: whether torch.conv2d with hgfast's pointwise kernels is among the kernels of a convolution.
        """
        self.lib, self.threads, self.table, self.timed, self.possible = lib, threads, table, timed, possible
        self.launched, self.by_torch = launched, by_torch
        self.listed = has_candidates(lib)
        self.names: dict[Value, str] = {}
        self.kernels: dict[str, list[Any]] = {}
        self.blocks: bool | None = None
        self._failed: dict[tuple[str, str], str] = {}

    def finding(self, needs: Needs, name: str) -> Finding:
        """Return what is known of a kernel for a call."""
        if (why := self._failed.get((label(needs), name))) is not None:
            return Finding(right=False, why=why)
        return Finding() if self.table is None else self.table.get(label(needs), name)

    def turn_away(self, needs: Needs, name: str, why: str) -> None:
        """Use a kernel for a call no more in this process."""
        self._failed[label(needs), name] = why

    def conv(self, call: ConvCall, sizes: ConvShape) -> ConvNeeds:
        """Return the kernel of a convolution.

        Raises:
            NoKernel: there is none.
        """
        name = self.names[call.output] = conv_name(call, sizes)
        if not self.listed:
            return _conv_native.query(self.lib, sizes, self.threads)
        return self._best(call, name, self._convs(name, sizes)) or TORCH_ALONE

    def block(self, call: BottleneckCall, sizes: BottleneckShape) -> BottleneckNeeds | None:
        """Return the kernel of a whole bottleneck; None where its three convolutions are the faster ones."""
        if not self.listed:
            needs = _bottleneck_native.query(self.lib, sizes, self.threads)
            return needs if needs is not None and needs.pays else None
        name = self.names[call.output] = block_name(call, sizes)
        found, three = bottleneck_candidates(self.lib, sizes)
        if self.blocks is False or not found:
            return None
        if name not in self.kernels:
            asked = (_bottleneck_native.query(self.lib, sizes, self.threads, c.algorithm) for c in found)
            self.kernels[name] = [kernel for kernel in asked if kernel is not None]
        kernels, three_are_faster = self.kernels[name], None
        if self.blocks is None:
            three_are_faster = self._are_three_faster(call, sizes, name)
        if three_are_faster:
            return None
        if self.blocks is None and three_are_faster is None:
            expected = {c.kernel for c in found if c.cycles < three}
            kernels = [kernel for kernel in kernels if kernel.kernel in expected]
        return self._best(call, name, kernels)

    def plain(
        self, call: PlainCall, shapes: dict[Value, tuple[int, int, int]], batch: int, dtype: torch.dtype
    ) -> ConvNeeds:
        """Return the kernel of a pooling, or of a pointwise call."""
        name = self.names[call.output] = plain_name(call, shapes, batch, dtype)
        return self._best(call, name, [POOL if isinstance(call, PoolCall) else POINTWISE]) or TORCH_ALONE

    def _convs(self, name: str, sizes: ConvShape) -> list[ConvNeeds]:
        if name not in self.kernels:
            listed = shortlist(conv_candidates(self.lib, sizes))
            own = [_conv_native.query(self.lib, sizes, self.threads, candidate.algorithm) for candidate in listed]
            self.kernels[name] = [*own, WITH_POINTWISE] if self.by_torch else own
        return self.kernels[name]

    def _are_three_faster(self, call: BottleneckCall, sizes: BottleneckShape, name: str) -> bool | None:
        """Than the block, each by its fastest kernel; None where that is not known, or lost in the noise."""
        times = [self._fastest(name, self.kernels[name])]
        for conv, inner in zip(call.convs, sizes.convs, strict=True):
            inner_name = conv_name(conv, inner)
            times.append(self._fastest(inner_name, self._convs(inner_name, inner)))
        known = [time for time in times if time is not None]
        if not self.timed or len(known) < len(times):
            return None
        block, three = (time.counted(self.launched) for time in (known[0], reduce(add, known[1:])))
        return block.exceeds(three) if block.exceeds(three) or three.exceeds(block) else None

    def _fastest(self, name: str, kernels: list[Any]) -> Time | None:
        """Return the shortest time of what is not wrong."""
        found = [self.finding(kernel, name) for kernel in kernels]
        times = [finding.time for finding in found if finding.right is not False and finding.time is not None]
        return min(times, key=lambda time: time.counted(self.launched).value, default=None)

    def _best(self, call: NativeCall, name: str, kernels: list[Any]) -> Any:
        """Choose of those not known to be wrong (possible if any is) the fastest, or the one expected to be."""
        right = [kernel for kernel in kernels if self.finding(kernel, name).right is not False]
        possible = [kernel for kernel in right if self.possible is None or self.possible(call, kernel)] or right
        fastest = self._fastest(name, possible)
        if not self.timed or fastest is None or self.finding(possible[0], name).time is None:
            return next(iter(possible), None)
        shortest = fastest.counted(self.launched)
        times = ((kernel, self.finding(kernel, name).time) for kernel in possible)
        return next(k for k, time in times if time is not None and not time.counted(self.launched).exceeds(shortest))
