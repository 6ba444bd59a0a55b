"""Tensors on the emulated device: guarded copies of exactly the bytes that a kernel may touch, for one call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ORDERS = {"forward": 0, "reverse": 1, "shuffled": 2}
ASYNC = {"lazy": 0, "eager": 1, "mixed": 2}
READ, READ_WRITE, WRITE = 0, 1, 2
STATS = (
    "launches blocks barriers cp_async ldmatrix ldmatrix_conflicts stmatrix mma wgmma tma_loads tma_stores atomics"
).split()


class EmulatorError(AssertionError):
    """A kernel did something wrong; the message names kernel, block, thread and source line.

    Not a RuntimeError: those a frozen network may take for a kernel's that it can do without.
    """


class Address(int):
    """What ptr, inout and out give under the emulator: the tensor's own address, and what a kernel may do with it."""

    tensor: torch.Tensor
    access: int

    def __new__(cls, tensor: torch.Tensor, access: int) -> Address:
        self = super().__new__(cls, tensor.data_ptr())
        self.tensor, self.access = tensor, access
        return self

    @property
    def end(self) -> int:
        """One past the last byte of the tensor's extent."""
        if not self.tensor.numel():
            return int(self)
        last = sum((n - 1) * s for n, s in zip(self.tensor.shape, self.tensor.stride(), strict=True))
        return int(self) + (last + 1) * self.tensor.element_size()


@dataclass
class Buffer:
    """Overlapping tensors of one call, and their copy on the emulated device."""

    begin: int
    end: int
    views: list[Address]
    device: int = 0

    @property
    def access(self) -> int:
        """What the kernel may do with it; tensors that overlap and differ may be read and written."""
        kinds = {view.access for view in self.views}
        return kinds.pop() if len(kinds) == 1 else READ_WRITE

    def poison(self) -> None:
        """Fill what the kernel is to write with NaN (all bits one); bytes between the elements of a view stay."""
        for view in self.views:
            integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[view.tensor.element_size()]
            view.tensor.data.view(integers).fill_(-1)


def group(addresses: Sequence[Address]) -> list[Buffer]:
    """Buffers of the tensors, one for those that share bytes."""
    buffers: list[Buffer] = []
    for address in sorted(addresses, key=int):
        if buffers and address < buffers[-1].end:
            buffers[-1].end = max(buffers[-1].end, address.end)
            buffers[-1].views.append(address)
        else:
            buffers.append(Buffer(int(address), address.end, [address]))
    return buffers


class Device:
    """The emulator inside one built module."""

    def __init__(self, path: Path | str) -> None:
        """path: a module from tests.emulator.build."""
        size, pointer = ctypes.c_size_t, ctypes.c_void_p
        self.control = ctypes.CDLL(str(path))
        self.control.hgfast_emulator_allocate.restype = pointer
        self.control.hgfast_emulator_allocate.argtypes = [size, size, size, ctypes.c_char_p]
        self.control.hgfast_emulator_protect.argtypes = [pointer, ctypes.c_int]
        self.control.hgfast_emulator_schedule.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_uint64]

    def schedule(self, order: str = "forward", asynchronous: str = "lazy", seed: int = 1) -> None:
        """How threads and asynchronous copies are ordered from now on."""
        self.control.hgfast_emulator_schedule(ORDERS[order], ASYNC[asynchronous], seed)

    def take_stats(self) -> dict[str, int]:
        """Counts of what kernels did since the last call."""
        counts = (ctypes.c_uint64 * len(STATS))()
        assert self.control.hgfast_emulator_take_stats(counts) == len(STATS)
        return dict(zip(STATS, counts, strict=True))

    def call(self, function: Callable[..., Any], args: Sequence[Any], name: str) -> Any:
        """function(*args) with each Address replaced by that of a copy; results are copied back.

        Raises:
            EmulatorError: a kernel did something that the emulator does not allow.
        """
        buffers = group([arg for arg in args if isinstance(arg, Address) and arg.end > arg])
        try:
            for buffer in buffers:
                position = min(i for i, arg in enumerate(args) if any(arg is view for view in buffer.views))
                self._upload(buffer, f"argument {position} of {name}")
            result = function(*(_moved(arg, buffers) if isinstance(arg, Address) else arg for arg in args))
            for buffer in buffers:
                if buffer.access != READ:
                    ctypes.memmove(buffer.begin, buffer.device, buffer.end - buffer.begin)
            return result
        except RuntimeError as error:
            if str(error).startswith("emulator: "):
                raise EmulatorError(str(error)) from None
            raise
        finally:
            self.control.hgfast_emulator_free_all()

    def _upload(self, buffer: Buffer, name: str) -> None:
        first = buffer.views[0].tensor
        granule = min(view.tensor.element_size() for view in buffer.views)
        phase = first.storage_offset() * first.element_size() % 16
        size = buffer.end - buffer.begin
        buffer.device = self.control.hgfast_emulator_allocate(size, phase, granule, name.encode())
        if buffer.access == WRITE:
            buffer.poison()
        ctypes.memmove(buffer.device, buffer.begin, size)
        self.control.hgfast_emulator_protect(buffer.device, buffer.access)


def _moved(address: Address, buffers: list[Buffer]) -> int:
    for buffer in buffers:
        if buffer.begin <= address < buffer.end:
            return buffer.device + (address - buffer.begin)
    return 1 << 20 if address else 0  # an empty tensor: there is nothing to read at its address
