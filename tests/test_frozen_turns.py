"""The order of a frozen network's calls on streams (with torch.cuda replaced by a record of what is asked of it)."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import types
from collections.abc import Iterator

import pytest
import torch

import hgfast
from hgfast.frozen.turns import Turns
from hgfast.frozen.weights import Weights
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


@pytest.fixture(scope="module")
def frozen() -> hgfast.FrozenModel:
    return hgfast.freeze(apply_recipe(small_model("mmpose", "reference"), 7).eval())


def test_a_forked_process_does_not_wait_for_a_thread_that_it_does_not_have(frozen: hgfast.FrozenModel) -> None:
    images, inside, leave = torch.randn(1, 3, 16, 16), threading.Event(), threading.Event()

    def stay() -> None:
        with frozen._turns.turn(torch.device("cpu")):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        torch.set_num_threads(1)
        frozen._plans.clear()
        ok = all(torch.equal(a, b) for a, b in zip(frozen(images), frozen(images), strict=True))
        os._exit(0 if ok and len(frozen._plans) == 1 else 1)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_call_inside_a_call_of_the_same_thread(frozen: hgfast.FrozenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a signal handler makes it, which runs between any two calls of kernels."""
    images, others, inner = torch.randn(1, 3, 16, 16), torch.randn(1, 3, 16, 16), []
    expected, expected_inner = frozen(images), frozen(others)
    step = frozen.plan(1, 16, 16).steps[20]
    function = step.function

    def interrupted(*arguments: object) -> None:
        monkeypatch.setattr(step, "function", function)
        inner.extend(frozen(others))
        function(*arguments)

    monkeypatch.setattr(step, "function", interrupted)
    outer = frozen(images)
    assert all(torch.equal(a, b) for a, b in zip([*outer, *inner], [*expected, *expected_inner], strict=True))


def test_what_is_packed_in_a_capture_is_not_kept(machine: Machine) -> None:
    frozen = hgfast.freeze(apply_recipe(small_model("mmpose", "reference"), 7).eval())
    frozen._plans.clear()
    machine.capturing, frozen.device = True, torch.device("cuda", 0)
    fresh = Weights(frozen.graph, torch.float32, torch.device("cpu"), exact=True)
    frozen._new_weights = lambda: fresh  # type: ignore[method-assign]
    assert frozen._plan(1, 16, 16).weights is fresh and not frozen._plans
    machine.capturing = False
    assert frozen._plan(1, 16, 16).weights is not fresh and len(frozen._plans) == 1


def test_memory_of_a_dropped_plan_waits_for_the_streams_that_used_it(
    frozen: hgfast.FrozenModel, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, recorded = frozen.plan(1, 16, 16), []
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: recorded.append((id(tensor), stream)))
    images = types.SimpleNamespace(is_cuda=True, device=torch.device("cuda", 0))
    for stream in (machine.stream, machine.stream, Stream(machine, "b")):
        machine.stream = stream
        plan.note_stream(images, id(stream))  # type: ignore[arg-type]
    held = [plan.arena, plan.workspace, *plan.weights.tensors()]
    assert [one for one, _ in recorded] == [id(tensor) for tensor in held] * 2
    assert [stream.name for _, stream in recorded] == ["a"] * len(held) + ["b"] * len(held)
