"""The order of a frozen network's calls: streams of fake devices, threads, processes, signals."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch

import hgfast
from hgfast.frozen.turns import Turns
from tests.fake_cuda.machine import Machine
from tests.recipe import apply_recipe
from tests.small_models import small_model

CUDA = torch.device("cuda", 1)


def add(x: torch.Tensor, turns: Turns) -> None:
    """A call that changes memory which all calls share."""
    with turns.turn(CUDA):
        assert torch.cuda.current_device() == 1
        x.add_(1)


def test_another_stream_waits_for_the_call_before(gpu: Machine) -> None:
    turns, x = Turns(), torch.zeros(3, device=CUDA)
    streams = [torch.cuda.Stream(CUDA) for _ in range(2)]
    torch.cuda.synchronize(CUDA)
    for stream in (*streams, streams[1], *streams):
        with torch.cuda.stream(stream):
            add(x, turns)
    torch.cuda.synchronize(CUDA)
    assert x.tolist() == [5, 5, 5] and torch.cuda.current_device() == 0


def test_in_a_capture_of_the_callers_own_nothing_is_waited_for(gpu: Machine) -> None:
    turns, x, own = Turns(), torch.zeros(3, device=CUDA), torch.zeros(3, device=CUDA)
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(CUDA)
    add(x, turns)
    with torch.cuda.device(CUDA), torch.cuda.graph(graph):
        add(own, turns)
    side.wait_stream(torch.cuda.current_stream(CUDA))
    with torch.cuda.stream(side):
        add(x, turns)
        graph.replay()
    torch.cuda.synchronize(CUDA)
    assert x.tolist() == [2, 2, 2] and own.tolist() == [1, 1, 1]


def test_a_call_that_fails_has_its_end_too(gpu: Machine) -> None:
    turns, x, side = Turns(), torch.zeros(3, device=CUDA), torch.cuda.Stream(CUDA)
    torch.cuda.synchronize(CUDA)
    with pytest.raises(RuntimeError, match="lost"), turns.turn(CUDA):
        x.add_(1)
        raise RuntimeError("lost")
    with torch.cuda.stream(side):
        add(x, turns)
    torch.cuda.synchronize(CUDA)


def test_the_cpu_has_no_streams(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("device", "current_stream", "Event", "is_current_stream_capturing"):
        monkeypatch.delattr(torch.cuda, name)
    with Turns().turn(torch.device("cpu")) as alone:
        assert alone


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
