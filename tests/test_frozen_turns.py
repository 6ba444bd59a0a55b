"""The order of a frozen network's calls on streams (with torch.cuda replaced by a record of what is asked of it)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

import hgfast
from hgfast.frozen.turns import Turns
from tests.recipe import apply_recipe
from tests.small_models import small_model


class Machine:
    """Streams are names; an event notes the name of the stream on which it was recorded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.stream, self.capturing = Stream(self, "a"), False
        monkeypatch.setattr(torch.cuda, "device", self.device)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.stream)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: self.capturing)
        monkeypatch.setattr(torch.cuda, "Event", lambda: Event(self))

    @contextlib.contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.log.append(f"enter {device}")
        yield
        self.log.append("leave")


class Stream:
    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.name = machine, name

    def wait_event(self, event: Event) -> None:
        self.machine.log.append(f"{self.name} waits for {event.stream}")


class Event:
    def __init__(self, machine: Machine) -> None:
        self.machine, self.stream = machine, ""

    def record(self, stream: Stream) -> None:
        self.stream = stream.name
        self.machine.log.append(f"end on {stream.name}")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def call(turns: Turns, machine: Machine, stream: Stream | None = None) -> list[str]:
    machine.stream = stream or machine.stream
    machine.log.clear()
    with turns.turn(torch.device("cuda", 1)):
        machine.log.append("run")
    return machine.log[1:-1]


def test_another_stream_waits_for_the_call_before(machine: Machine) -> None:
    turns, a, b = Turns(), Stream(machine, "a"), Stream(machine, "b")
    assert call(turns, machine, a) == ["run", "end on a"]
    assert call(turns, machine, a) == ["run", "end on a"]
    assert call(turns, machine, b) == ["b waits for a", "run", "end on b"]
    assert call(turns, machine, a) == ["a waits for b", "run", "end on a"]
    assert machine.log[0] == "enter cuda:1" and machine.log[-1] == "leave"


def test_in_a_capture_of_the_callers_own_nothing_is_waited_for(machine: Machine) -> None:
    turns, a, b, c = Turns(), *(Stream(machine, name) for name in "abc")
    call(turns, machine, a)
    machine.capturing = True
    assert call(turns, machine, b) == ["run"]
    machine.capturing = False
    assert call(turns, machine, c) == ["c waits for a", "run", "end on c"]


def test_a_call_that_fails_has_its_end_too(machine: Machine) -> None:
    turns = Turns()
    with pytest.raises(RuntimeError, match="lost"), turns.turn(torch.device("cuda", 0)):
        raise RuntimeError("lost")
    assert machine.log[1:] == ["end on a"]


def test_the_cpu_has_no_streams(machine: Machine) -> None:
    with Turns().turn(torch.device("cpu")):
        pass
    assert machine.log == []


def test_other_devices_are_refused() -> None:
    frozen = hgfast.freeze(apply_recipe(small_model("mmpose", "reference"), 7).eval())
    assert len(frozen(torch.zeros(1, 3, 16, 16, device="cpu:0"))) == 2
    with pytest.raises(ValueError, match="images must be on cpu, where the model was frozen, got meta"):
        frozen(torch.zeros(1, 3, 16, 16, device="meta"))
