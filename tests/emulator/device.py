"""The emulated device: routes ops on CPU tensors to emulated CUDA kernels, with guarded copies of their tensors."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.machinery
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from hgfast import _native
from tests.emulator.build import build

ORDERS = {"forward": 0, "reverse": 1, "shuffled": 2}
ASYNC = {"lazy": 0, "eager": 1, "mixed": 2}
READ, READ_WRITE, WRITE = 0, 1, 2
STATS = (
    "launches blocks barriers cp_async ldmatrix ldmatrix_conflicts stmatrix mma wgmma tma_loads tma_stores atomics"
).split()


class EmulatorError(RuntimeError):
    """A kernel did something wrong; the message names kernel, block, thread and source line."""


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

    def may(self) -> int:
        kinds = {view.access for view in self.views}
        return kinds.pop() if len(kinds) == 1 else READ_WRITE


def _group(addresses: list[Address]) -> list[Buffer]:
    buffers: list[Buffer] = []
    for address in sorted(addresses, key=int):
        if buffers and address < buffers[-1].end:
            buffers[-1].end = max(buffers[-1].end, address.end)
            buffers[-1].views.append(address)
        else:
            buffers.append(Buffer(int(address), address.end, [address]))
    return buffers


class Library:
    """One built emulator module; calls go through guarded copies of the tensors."""

    def __init__(self, variant: str) -> None:
        """variant: "fast" or "check"."""
        path = os.environ.get("HGFAST_EMULATOR_MODULE") or str(build(variant))
        loader = importlib.machinery.ExtensionFileLoader("_cuda", path)
        spec = importlib.util.spec_from_loader("_cuda", loader)
        assert spec is not None
        self.module: ModuleType = importlib.util.module_from_spec(spec)
        loader.exec_module(self.module)
        self.control = ctypes.CDLL(path)
        self.control.hgfast_emulator_allocate.restype = ctypes.c_void_p
        size = ctypes.c_size_t
        self.control.hgfast_emulator_allocate.argtypes = [size, size, size, ctypes.c_char_p]
        self.control.hgfast_emulator_protect.argtypes = [ctypes.c_void_p, ctypes.c_int]
        self.control.hgfast_emulator_schedule.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_uint64]

    def schedule(self, order: str = "forward", asynchronous: str = "lazy", seed: int = 1) -> None:
        """How threads and asynchronous copies are ordered from now on."""
        self.control.hgfast_emulator_schedule(ORDERS[order], ASYNC[asynchronous], seed)

    def take_stats(self) -> dict[str, int]:
        """Counts of what kernels did since the last call."""
        counts = (ctypes.c_uint64 * len(STATS))()
        assert self.control.hgfast_emulator_take_stats(counts) == len(STATS)
        return dict(zip(STATS, counts, strict=True))

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], name: str) -> Any:
        """Run a bound function on copies of the tensors whose addresses it gets."""
        addresses = [arg for arg in args if isinstance(arg, Address) and arg.end > arg]
        buffers = _group(addresses)
        try:
            for index, buffer in enumerate(buffers):
                position = min(i for i, arg in enumerate(args) if any(arg is view for view in buffer.views))
                self._upload(buffer, f"argument {position} of {name}", index)
            moved = [self._moved(arg, buffers) if isinstance(arg, Address) else arg for arg in args]
            result = function(*moved)
            for buffer in buffers:
                if buffer.may() != READ:
                    ctypes.memmove(buffer.begin, buffer.device, buffer.end - buffer.begin)
            return result
        except RuntimeError as error:
            if str(error).startswith("emulator: "):
                raise EmulatorError(str(error)) from None
            raise
        finally:
            self.control.hgfast_emulator_free_all()

    def _upload(self, buffer: Buffer, name: str, index: int) -> None:
        granule = min(view.tensor.element_size() for view in buffer.views)
        phase = buffer.views[0].tensor.storage_offset() * buffer.views[0].tensor.element_size() % 16
        size = buffer.end - buffer.begin
        buffer.device = self.control.hgfast_emulator_allocate(size, phase, granule, name.encode())
        if buffer.may() == WRITE:
            _poison(buffer)
        ctypes.memmove(buffer.device, buffer.begin, size)
        self.control.hgfast_emulator_protect(buffer.device, buffer.may())

    @staticmethod
    def _moved(address: Address, buffers: list[Buffer]) -> int:
        for buffer in buffers:
            if buffer.begin <= address < buffer.end:
                return buffer.device + (address - buffer.begin)
        return 1 << 20 if address else 0  # an empty tensor: nothing may be read there


def _poison(buffer: Buffer) -> None:
    """Fill what the kernel is to write with NaN (all bits one); bytes between the elements of a view stay."""
    for view in buffer.views:
        integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[view.tensor.element_size()]
        view.tensor.data.view(integers).fill_(-1)


_libraries: dict[str, Library] = {}


def load(variant: str | None = None) -> Library:
    """The emulator's library, built on first use. Default variant: $HGFAST_EMULATOR_VARIANT or "fast"."""
    variant = variant or os.environ.get("HGFAST_EMULATOR_VARIANT", "fast")
    if variant not in _libraries:
        _libraries[variant] = Library(variant)
    return _libraries[variant]


class _Routed:
    """What `_native.library("cpu")` is under the emulator."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._library.module, name)
        return lambda *args: self._library.call(function, args, name)


def _default_schedule() -> dict[str, Any]:
    """$HGFAST_EMULATOR_SCHEDULE, e.g. "shuffled,eager,7"."""
    parts = os.environ.get("HGFAST_EMULATOR_SCHEDULE", "forward,lazy").split(",")
    return {"order": parts[0], "asynchronous": parts[1], "seed": int(parts[2]) if len(parts) > 2 else 1}


@contextlib.contextmanager
def emulated_cuda(variant: str | None = None, **schedule: Any) -> Iterator[Library]:
    """Within it, hgfast's ops on CPU tensors run the emulated CUDA kernels.

    Args:
        variant: "fast" or "check".
        schedule: order ("forward", "reverse", "shuffled"), asynchronous ("lazy", "eager", "mixed"), seed; default from
            the environment variable HGFAST_EMULATOR_SCHEDULE.
    """
    library = load(variant)
    library.schedule(**{**_default_schedule(), **schedule})
    routed = _Routed(library)
    replaced = {
        "library": lambda device_type: routed,
        "on_cuda": lambda tensor: True,
        "ptr": lambda tensor: _address(tensor, READ),
        "inout": lambda tensor: _address(tensor, READ_WRITE),
        "out": lambda tensor: _address(tensor, WRITE),
    }
    saved = {name: getattr(_native, name) for name in replaced}
    for name, function in replaced.items():
        setattr(_native, name, function)
    try:
        yield library
    finally:
        for name, function in saved.items():
            setattr(_native, name, function)


def _address(tensor: torch.Tensor | None, access: int) -> int:
    return 0 if tensor is None else Address(tensor, access)
