"""Blocks of memory: whose they are, who used them, and whether they are still there."""

from __future__ import annotations

import ctypes
import weakref
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tests.fake_cuda.order import Access

if TYPE_CHECKING:
    from tests.fake_cuda.graphs import Capture
    from tests.fake_cuda.machine import Machine
    from tests.fake_cuda.streams import Stream

POISON = 0xFF  # a NaN in every floating format


@dataclass(eq=False)
class Block:
    """What one storage holds. `device` is None for pinned memory of the host."""

    name: str
    device: torch.device | None
    nbytes: int
    stream: Stream | None  # on which it was allocated
    pool: Capture | None = None  # of the graph in whose capture it was allocated
    recorded: set[int] = field(default_factory=set)  # agents of streams that record_stream named
    accesses: list[Access] = field(default_factory=list)
    alive: bool = True
    storage: Any = None  # a weak reference

    def strong(self) -> torch.UntypedStorage | None:
        """Its storage, while there is one."""
        return self.storage()


@dataclass(frozen=True)
class Use:
    """What a step does with the bytes [begin, end) of a block."""

    block: Block
    begin: int
    end: int
    write: bool

    @property
    def verb(self) -> str:
        return "writes" if self.write else "reads"


class Memory:
    """The blocks by their storages."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._blocks: dict[int, Block] = {}
        self._count = 0
        self.held: dict[int, int] = defaultdict(int)  # bytes in use, by device
        self.peak: dict[int, int] = defaultdict(int)

    def find(self, tensor: Tensor) -> Block | None:
        """The block behind a tensor; None if it is ordinary memory of the host."""
        return self._blocks.get(tensor.untyped_storage()._cdata) if self._blocks else None

    def place(self, tensor: Tensor, device: torch.device | None, stream: Stream | None, name: str) -> Block:
        """From now on a tensor's memory is a device's, allocated on a stream; or pinned memory."""
        storage = tensor.untyped_storage()
        self._count += 1
        where = f"{device}" if device else "pinned"
        block = Block(f"block {self._count} ({where}, {name})", device, storage.nbytes(), stream)
        key = storage._cdata
        if stream is not None:
            # What was there before, on the same stream, comes before whatever is done with the block.
            begin = Access(0, storage.nbytes(), True, stream.agent, stream.clock.get(stream.agent, 0), "allocation")
            if stream.capture is None:
                block.accesses.append(begin)
            else:
                stream.capture.own(block, storage, begin)
        block.storage = weakref.ref(storage, lambda _: self._free(key))
        self._blocks[key] = block
        if device is not None:
            self.held[device.index] += block.nbytes
            self.peak[device.index] = max(self.peak[device.index], self.held[device.index])
        return block

    def _free(self, key: int) -> None:
        with self.machine.lock:
            block = self._blocks.pop(key)
            if block.device is not None:
                self.held[block.device.index] -= block.nbytes
            try:
                self.machine.freed(block)
            except AssertionError:
                pass  # noted; nobody is there to be told

    def use(self, tensor: Tensor, write: bool) -> list[Use]:
        """What an operator on a tensor does with its block: nothing if that is ordinary memory."""
        block = self.find(tensor)
        if block is None or not tensor.numel():
            return []
        item = tensor.element_size()
        begin, last = tensor.storage_offset() * item, 0
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            last += (size - 1) * stride
        return [Use(block, begin, begin + (last + 1) * item, write)]


def poison(tensor: Tensor) -> None:
    """What an allocator gives is anything."""
    if tensor.numel():
        ctypes.memset(tensor.untyped_storage().data_ptr(), POISON, tensor.untyped_storage().nbytes())
