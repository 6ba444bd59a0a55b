"""Recorded calls as they are run: one call of the native library for all kernels between two of torch's.

Values that only kernels see lie in one workspace, those that live at the same time side by side; what is given back,
or goes to torch, is a tensor of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hgfast import _native
from hgfast.nn._recorder import AtenCall, KernelCall, Value
from hgfast.ops import _buffers

if TYPE_CHECKING:
    from hgfast._library import Library

ALIGNMENT = 64  # bytes


class _Kernels:
    """Consecutive kernels. makes: tensors that they write first: number, size, strides, whether of zeros."""

    def __init__(self, sequence: Any, makes: list[tuple[int, tuple[int, ...], tuple[int, ...], bool]]) -> None:
        self.sequence, self.makes = sequence, makes

    def run(self, tensors: list[Any], like: Tensor) -> None:
        """Make the tensors and call the kernels."""
        for number, size, stride, zeros in self.makes:
            tensors[number] = like.new_zeros(size) if zeros else _buffers.empty_strided(size, stride, like)
        self.sequence.run(list(map(_native.inout, tensors)), torch.get_num_threads())


class _Torch:
    """A call of torch's.

    reads, writes: numbers of the tensors that it reads (-1: None), and of those that it makes with the memory format
    in which others expect them.
    """

    def __init__(
        self, function: Callable[..., Sequence[Tensor]], reads: list[int], writes: list[tuple[int, torch.memory_format]]
    ) -> None:
        self.function, self.reads, self.writes = function, reads, writes

    def run(self, tensors: list[Any], like: Tensor) -> None:
        """Call it."""
        made = self.function(*(None if number < 0 else tensors[number] for number in self.reads))
        for (number, memory_format), tensor in zip(self.writes, made, strict=True):
            tensors[number] = tensor.contiguous(memory_format=memory_format)


class Recording:
    """Calls on numbered tensors: those given, those made, and the workspace as the last one."""

    def __init__(
        self,
        lib: Library,
        calls: Sequence[KernelCall | AtenCall],
        given: Sequence[Value | None],
        results: Sequence[Value | None],
        notes: Any,
    ) -> None:
        """Plan the calls.

        Args:
            lib: the native library.
            calls: in their order.
            given: what `run` is given; here and in results None stands for None.
            results: what it returns; values that are given may be among them.
            notes: kept as they are.
        """
        self._number = {id(value): number for number, value in enumerate(given) if value is not None}
        self._next, self.notes = len(given), notes
        self._values = [*given, *results, *(value for call in calls for value in (*call.reads, *call.writes))]
        self._name_tensors(calls, results)
        self.count = self._next + 1
        self._offsets, self.workspace_bytes = _plan(calls, set(self._number))
        self.first_made = len(given)
        self.results = [-1 if value is None else self._number[id(value)] for value in results]
        self._ends = self._last_uses(calls)
        self.parts = self._parts(lib, calls)
        del self._number, self._values, self._offsets, self._ends, self._next

    def run(self, given: Sequence[Any]) -> list[Any]:
        """Run the calls; the first of the given tensors is an activation, others may be None."""
        tensors: list[Any] = [*given, *[None] * (self.count - len(given))]
        if self.workspace_bytes:
            room = self.workspace_bytes // given[0].element_size()
            tensors[-1] = _buffers.empty_strided((room,), (1,), given[0])
        for part, ends in self.parts:
            part.run(tensors, given[0])
            for number in ends:
                tensors[number] = None
        return [None if number < 0 else tensors[number] for number in self.results]

    def _name_tensors(self, calls: Sequence[KernelCall | AtenCall], results: Sequence[Value | None]) -> None:
        """Give a number to each value that is to be a tensor of its own."""
        seen_by_torch = (value for call in calls if isinstance(call, AtenCall) for value in (*call.reads, *call.writes))
        zeros = (value for value in self._values if value is not None and value.zeros)
        for value in (*results, *seen_by_torch, *zeros):
            if value is not None and id(value) not in self._number:
                self._number[id(value)] = self._next
                self._next += 1

    def _last_uses(self, calls: Sequence[KernelCall | AtenCall]) -> dict[int, list[int]]:
        """Return for each call the tensors that were made and that nobody needs after it."""
        last = {
            self._number[id(value)]: i
            for i, call in enumerate(calls)
            for value in (*call.reads, *call.writes)
            if value is not None and id(value) in self._number
        }
        ends: dict[int, list[int]] = {}
        for number, i in last.items():
            if number >= self.first_made and number not in self.results:
                ends.setdefault(i, []).append(number)
        return ends

    def _parts(self, lib: Library, calls: Sequence[KernelCall | AtenCall]) -> list[tuple[_Kernels | _Torch, list[int]]]:
        """Return what is run in turn, and the tensors that each part is the last to use."""
        parts: list[tuple[_Kernels | _Torch, list[int]]] = []
        made: set[int] = set(range(self.first_made))
        made |= self._make_zeros(lib, parts)
        for i, call in enumerate(calls):
            ends = self._ends.get(i, [])
            if isinstance(call, AtenCall):
                reads = [-1 if value is None else self._number[id(value)] for value in call.reads]
                writes = [(self._number[id(value)], value.memory_format) for value in call.writes]
                parts.append((_Torch(call.function, reads, writes), ends))
                made.update(number for number, _ in writes)
                continue
            if not parts or isinstance(parts[-1][0], _Torch):
                parts.append((_Kernels(lib.Sequence(self.count), []), []))
            kernels, its_ends = parts[-1]
            assert isinstance(kernels, _Kernels)
            for value in call.writes:
                number = -1 if value is None else self._number.get(id(value), -1)
                if value is not None and number >= 0 and number not in made:
                    kernels.makes.append((number, value.shape, value.stride, False))
                    made.add(number)
            places = [self._place(value) for value in (*call.reads, *call.writes)]
            getattr(kernels.sequence, call.method)(*call.settings, *places)
            its_ends += ends
        return parts

    def _make_zeros(self, lib: Library, parts: list[Any]) -> set[int]:
        zeros = {self._number[id(value)]: value for value in self._values if value is not None and value.zeros}
        if zeros:
            makes = [(number, value.shape, value.stride, True) for number, value in zeros.items()]
            parts.append((_Kernels(lib.Sequence(self.count), makes), []))
        return set(zeros)

    def _place(self, value: Value | None) -> tuple[int, int] | None:
        if value is None:
            return None
        number = self._number.get(id(value))
        return (self.count - 1, self._offsets[id(value)]) if number is None else (number, 0)


def _plan(calls: Sequence[KernelCall | AtenCall], tensors: set[int]) -> tuple[dict[int, int], int]:
    """Offset of each value that is no tensor of its own, and bytes of the workspace.

    First fit, in the order in which the values are made; what a call reads stays beside what it writes.
    """
    last = {id(value): i for i, call in enumerate(calls) for value in (*call.reads, *call.writes) if value is not None}
    offsets: dict[int, int] = {}
    live: list[tuple[int, int, int]] = []  # begin, end, last call
    size = 0
    for i, call in enumerate(calls):
        live = [each for each in live if each[2] >= i]
        for value in call.writes:
            if value is None or id(value) in tensors or id(value) in offsets:
                continue
            bytes_needed = -(-value.count * 4 // ALIGNMENT) * ALIGNMENT
            begin = 0
            for other in sorted(live):
                if begin + bytes_needed <= other[0]:
                    break
                begin = max(begin, other[1])
            offsets[id(value)] = begin
            live.append((begin, begin + bytes_needed, last[id(value)]))
            size = max(size, begin + bytes_needed)
    return offsets, size
