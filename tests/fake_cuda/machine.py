"""The machine: its devices and clocks, what is current in each thread, the faults that were found."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from tests.fake_cuda.memory import Block, Memory, Use
from tests.fake_cuda.order import HOST, Access, Clock, add_access, merge, step

if TYPE_CHECKING:
    from tests.fake_cuda.graphs import Capture
    from tests.fake_cuda.streams import Stream

LAUNCH_MS = 0.01  # that every launch takes on the devices' clocks


class Fault(AssertionError):
    """Something that a GPU could do wrong, or another time."""


class Machine:
    """`devices` GPUs and one host."""

    def __init__(self, devices: int) -> None:
        self.devices = devices
        self.lock = threading.RLock()
        self.host: Clock = {HOST: 1}
        self.memory = Memory(self)
        self.faults: list[str] = []
        self.log: list[str] = []  # "stream: what", in the order of launches
        self.captures: list[Capture] = []  # that are under way
        self.streams: list[Stream] = []
        self.idle: frozenset[str] = frozenset()  # operators whose launches are counted, and which compute nothing
        self.outputs: dict[str, Any] = {}  # of these, by what they are given
        self.generators = [torch.Generator() for _ in range(devices)]
        self._local = threading.local()

    # What is current in this thread.

    @property
    def device(self) -> int:
        """The current device."""
        return getattr(self._local, "device", 0)

    @device.setter
    def device(self, index: int) -> None:
        if not 0 <= index < self.devices:
            raise RuntimeError(f"CUDA error: invalid device ordinal {index}")
        self._local.device = index

    def current(self, index: int) -> Stream:
        """A device's current stream."""
        chosen = getattr(self._local, "streams", {})
        return chosen.get(index) or self.streams[index]  # the first ones are the default streams

    def choose(self, stream: Stream) -> None:
        """Make a stream its device's current one, and the device the current device, as PyTorch does."""
        self.device = stream.device_index
        self._local.streams = {**getattr(self._local, "streams", {}), stream.device_index: stream}

    @contextlib.contextmanager
    def asked_to_move(self) -> Iterator[None]:
        """Within it a copy to "cpu" is one. What C++ asks for by itself, in gradients, is a tensor like another one,
        and to C++ all of them are on the CPU."""
        self._local.moves = True
        try:
            yield
        finally:
            self._local.moves = False

    @property
    def moves(self) -> bool:
        """Whether a copy was asked for by `asked_to_move`."""
        return getattr(self._local, "moves", False)

    # What is done.

    def fault(self, text: str) -> None:
        """Note it, and end the test here."""
        self.faults.append(text)
        raise Fault(text)

    def launch(self, stream: Stream, what: str, uses: Iterable[Use]) -> None:
        """A kernel or a copy on a stream."""
        with self.lock:
            self.log.append(f"{stream.name}: {what}")
            merge(stream.clock, self.host)
            number = step(stream.clock, stream.agent)
            stream.time = stream.time + LAUNCH_MS
            for use in uses:
                self._use(use, stream.agent, number, stream.clock, f"{what} on {stream.name}")

    def touch(self, what: str, uses: Iterable[Use]) -> None:
        """The host itself reads or writes memory that devices have to do with, too."""
        with self.lock:
            number = step(self.host, HOST)
            for use in uses:
                self._use(use, HOST, number, self.host, f"{what} by the host")

    def _use(self, use: Use, agent: int, number: int, clock: Clock, what: str) -> None:
        block = use.block
        if not block.alive:
            self.fault(f"{what} {use.verb} {block.name}, which is freed")
        access = Access(use.begin, use.end, use.write, agent, number, what)
        conflict = add_access(block.accesses, access, clock)
        if conflict is not None:
            verb = "writes" if conflict.write else "reads"
            self.fault(f"race for {block.name}: {what} {use.verb} it, {conflict.what} {verb} it, and neither waits")

    def wait(self, clock: Clock, why: str) -> None:
        """The host waits for what a clock knows of."""
        with self.lock:
            self.log.append(f"host waits: {why}")
            merge(self.host, clock)

    def waits(self) -> list[str]:
        """What the host has waited for."""
        return [line for line in self.log if line.startswith("host waits")]

    def freed(self, block: Block) -> None:
        """The allocator may give the memory to the next one who asks for some on the stream it came from."""
        block.alive = False
        if block.stream is None or block.pool is not None:
            return  # of the host's allocator, which waits; or of a graph's pool, which is given back as a whole
        known = dict(block.stream.clock)
        merge(known, self.host)
        for access in block.accesses:
            if not access.done_before(known) and access.agent not in block.recorded:
                self.fault(
                    f"{block.name} is freed while {access.what} may still use it: "
                    f"{block.stream.name}, where it came from, neither waits nor has record_stream said so"
                )

    def unsafe(self, what: str) -> None:
        """A call that CUDA does not allow while a graph is captured.

        Raises:
            RuntimeError: one is, in this thread, or in another one whose mode is "global"; that capture is lost, too.
        """
        for capture in self.captures:
            own = capture.thread == threading.get_ident()
            if (own and capture.mode != "relaxed") or (not own and capture.mode == "global"):
                capture.lost = f"{what} during the capture"
                raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")


def index_of(device: Any, machine: Machine) -> int:
    """A device's number; None is the current one.

    Raises:
        ValueError: not a CUDA device.
    """
    if device is None:
        return machine.device
    if isinstance(device, int):
        return device
    device = torch.device(device)
    if device.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {device}")
    return machine.device if device.index is None else device.index
