"""`torch.cuda.CUDAGraph`: what is launched during a capture is written down, and done at each replay."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tests.fake_cuda.machine import Machine
from tests.fake_cuda.memory import Block, Use
from tests.fake_cuda.order import Access, Clock, add_access, step
from tests.fake_cuda.streams import Stream


@dataclass
class Node:
    """A launch in a graph."""

    what: str
    run: Callable[[], Any]
    uses: Sequence[Use]


class Capture:
    """A capture under way, and what came of it."""

    _numbers = itertools.count(1)

    def __init__(self, machine: Machine, stream: Stream, mode: str) -> None:
        self.machine, self.origin, self.mode = machine, stream, mode
        self.number = next(self._numbers)
        self.thread = threading.get_ident()
        self.nodes: list[Node] = []
        self.kept: list[torch.UntypedStorage] = []  # what was allocated: the graph's own pool
        self.lost = ""  # why it is not valid any more
        self._before: list[tuple[Stream, Clock]] = []  # its streams, and what they knew
        self._accesses: dict[Block, list[Access]] = {}
        self.join(stream)

    def join(self, stream: Stream) -> None:
        """What is launched on this stream belongs to the graph from now on."""
        if stream.capture is None:
            self._before.append((stream, dict(stream.clock)))
            stream.capture = self

    def own(self, block: Block, storage: torch.UntypedStorage, begin: Access) -> None:
        """A block that was allocated in the capture: it lives as long as the graph."""
        block.pool = self
        self.kept.append(storage)
        self._accesses[block] = [begin]

    def lose(self, why: str) -> None:
        """End it with an error.

        Raises:
            RuntimeError: always.
        """
        self.lost = self.lost or why
        raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing: {why}")

    def add(self, stream: Stream, what: str, uses: Iterable[Use], run: Callable[[], Any]) -> None:
        """A launch. Its order among the graph's other ones is that of its streams and events."""
        uses = tuple(uses)
        number = step(stream.clock, stream.agent)
        for use in uses:
            access = Access(use.begin, use.end, use.write, stream.agent, number, f"{what} on {stream.name}")
            conflict = add_access(self._accesses.setdefault(use.block, []), access, stream.clock)
            if conflict is not None:
                self.machine.fault(f"race for {use.block.name} in a graph: {access.what} and {conflict.what}")
        self.nodes.append(Node(what, run, uses))

    def end(self) -> None:
        """The streams are as they were before.

        Raises:
            RuntimeError: the capture is not valid.
        """
        known = dict(self.origin.clock)
        unjoined = [s for s, _ in self._before if s.clock.get(s.agent, 0) > known.get(s.agent, 0)]
        for stream, clock in self._before:
            stream.clock, stream.capture = clock, None
        if self.lost:
            raise RuntimeError(f"CUDA error: operation failed due to a previous error during capture ({self.lost})")
        if unjoined:
            raise RuntimeError(f"CUDA error: capturing stream has unjoined work ({unjoined[0].name})")


class CUDAGraph:
    """A graph."""

    machine: Machine

    def __init__(self, keep_graph: bool = False) -> None:
        self._capture: Capture | None = None
        self._ready = False

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global", **options: Any) -> None:
        """Capture the current stream.

        Raises:
            RuntimeError: it is the default stream, or captured already.
        """
        machine = self.machine
        stream = machine.current(machine.device)
        if stream.stream_id == 0:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream.")
        if stream.capture is not None:
            raise RuntimeError("CUDA error: the stream is being captured already")
        with machine.lock:
            self._capture = Capture(machine, stream, capture_error_mode)
            machine.captures.append(self._capture)

    def capture_end(self) -> None:
        """From now on it can be replayed.

        Raises:
            RuntimeError: another stream is the current one, or something went wrong.
        """
        machine, capture = self.machine, self._capture
        assert capture is not None
        if machine.current(machine.device) != capture.origin:
            raise RuntimeError("Capture must end on the same stream it began on.")
        with machine.lock:
            machine.captures.remove(capture)
            capture.end()
            self._ready = True

    def replay(self) -> None:
        """Launch it on the current stream."""
        machine, capture = self.machine, self._capture
        if capture is None or not self._ready:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        stream = machine.current(machine.device)
        if stream.device_index != capture.origin.device_index:
            machine.fault(f"a graph of cuda:{capture.origin.device_index} is replayed on {stream.name}")
        if stream.capture is not None:
            stream.capture.lose("the launch of a graph")
        for node in capture.nodes:
            machine.launch(stream, f"{node.what} (graph)", node.uses)
            node.run()

    def reset(self) -> None:
        """Forget it."""
        self._capture, self._ready = None, False

    def pool(self) -> tuple[int, int]:
        """A token; pools are not shared here."""
        return (0, id(self))
