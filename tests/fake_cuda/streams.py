"""`torch.cuda.Stream` and `torch.cuda.Event`."""

from __future__ import annotations

from typing import Any

import torch

from tests.fake_cuda.machine import Machine, index_of
from tests.fake_cuda.order import Clock, merge


class Stream:
    """A stream of the machine `fake_cuda` has put in place."""

    machine: Machine

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        machine = self.machine
        self.device_index = index_of(device, machine)
        with machine.lock:
            machine.streams.append(self)
            self.agent = len(machine.streams)
        default = self.agent <= machine.devices
        self.stream_id = self.cuda_stream = 0 if default else 16 * self.agent
        self.name = f"cuda:{self.device_index} " + ("default stream" if default else f"stream {self.agent}")
        self.clock: Clock = {}
        self.time = 0.0
        self.capture: Any = None

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", self.device_index)

    def wait_event(self, event: Event) -> None:
        """What comes on this stream comes after the event."""
        capture = event.capture if event.capture in self.machine.captures else None
        if capture is not None:
            capture.join(self)
        elif self.capture is not None and event.clock is not None:
            self.capture.lose("dependency created on uncaptured work in another stream")
        if event.clock is not None:
            merge(self.clock, event.clock)
            self.time = max(self.time, event.time)

    def wait_stream(self, stream: Stream) -> None:
        self.wait_event(stream.record_event())

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        if self.capture is not None:
            self.capture.lose("a wait of the host for the stream")
        self.machine.wait(self.clock, f"synchronize {self.name}")

    def is_capturing(self) -> bool:
        return self.capture is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.agent == other.agent

    def __hash__(self) -> int:
        return self.agent

    def __repr__(self) -> str:
        return self.name


class Event:
    """An event: what its stream knew when it was recorded."""

    machine: Machine

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self.timed = enable_timing
        self.clock: Clock | None = None
        self.time = 0.0
        self.capture: Any = None

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or self.machine.current(self.machine.device)
        self.clock, self.time, self.capture = dict(stream.clock), stream.time, stream.capture

    def wait(self, stream: Stream | None = None) -> None:
        (stream or self.machine.current(self.machine.device)).wait_event(self)

    def synchronize(self) -> None:
        self.machine.unsafe("cudaEventSynchronize")
        self.machine.wait(self.clock or {}, "Event.synchronize")

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds.

        Raises:
            RuntimeError, ValueError: an event that is not known to have happened, or has no time.
        """
        if not (self.timed and end.timed) or self.clock is None or end.clock is None:
            raise ValueError("Both events must be created with enable_timing=True and be recorded")
        host = self.machine.host
        if any(host.get(agent, 0) < number for agent, number in end.clock.items()):
            raise RuntimeError("CUDA error: device not ready")
        return end.time - self.time
