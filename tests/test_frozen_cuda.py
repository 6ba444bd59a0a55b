"""Frozen networks on CUDA: plans, graphs, streams, threads, captures, on fake devices that see every wait."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
import torch

import hgfast
from hgfast import _switches
from hgfast.frozen import model as frozen_model
from tests.fake_cuda.machine import Machine
from tests.fake_cuda.networks import assert_right, expected, interrupt, network, pictures


@pytest.fixture(autouse=True)
def known() -> None:
    """What the tests compare with is made without devices."""
    for seed in range(4):
        expected(seed)


@pytest.mark.parametrize("cuda_graph", [False, True])
@pytest.mark.parametrize("family", ["mmpose", "princeton"])
def test_plans(gpu: Machine, cuda_graph: bool, family: str) -> None:
    side = 64 if family == "princeton" else 16
    frozen, x = network("cuda", family, cuda_graph=cuda_graph), pictures(1, batch=2, side=side)
    found = [frozen(x) for _ in range(3)]
    assert_right(found[0], expected(1, 2, side, family))
    assert all(torch.equal(a, b) for maps in found[1:] for a, b in zip(found[0], maps, strict=True))
    assert any("(graph)" in line for line in gpu.log) == cuda_graph
    assert frozen.plan(2, side, side) is frozen.plan(2, side, side)
    assert ("fake block" in frozen.describe(2, side, side)) == (family == "princeton")


def test_later_calls_leave_earlier_results_alone(gpu: Machine) -> None:
    frozen = network(cuda_graph=True)
    found = [frozen(pictures(seed)) for seed in range(4)]
    for seed, maps in enumerate(found):
        assert_right(maps, expected(seed))


def test_the_second_device(gpu: Machine) -> None:
    """Whatever device is the current one, and though the first graph of the process was of another one."""
    for device in ("cuda:0", "cuda:1"):
        frozen, x = network(device, cuda_graph=True), pictures(1, device)
        for _ in range(3):
            assert_right(frozen(x), expected(1))
    assert torch.cuda.current_device() == 0
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_calls_on_several_streams(gpu: Machine, cuda_graph: bool) -> None:
    frozen, streams = network(cuda_graph=cuda_graph), [torch.cuda.Stream() for _ in range(3)]
    found = []
    for seed in range(9):
        with torch.cuda.stream(streams[seed % 3]):
            found.append(frozen(pictures(seed)))
    torch.cuda.synchronize()
    for seed, maps in enumerate(found):
        assert_right(maps, frozen(pictures(seed)))


def test_calls_from_several_threads(gpu: Machine) -> None:
    frozen, found, errors = network(cuda_graph=True), {}, []

    def work(seed: int) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                found[seed] = [[maps.cpu() for maps in frozen(pictures(seed))] for _ in range(3)]
        except BaseException as error:  # is shown by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for seed in range(4):
        for maps in found[seed]:
            assert_right(maps, expected(seed))


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_plans_that_are_dropped(gpu: Machine, cuda_graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the device, and the memory is not given to others before it is done."""
    monkeypatch.setattr(frozen_model, "MAX_PLANS", 2)
    frozen, side = network(cuda_graph=cuda_graph), torch.cuda.Stream()
    inputs = [pictures(1, side=side) for side in (16, 32, 48, 64)]
    frozen(inputs[0])
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for x in (*inputs, *inputs):
            x.record_stream(side)
            frozen(x)
    assert len(frozen._plans) == len(frozen._graphs._captured or frozen._plans) == 2
    del frozen
    assert gpu.faults == []


def test_batch_sizes(gpu: Machine) -> None:
    frozen = network(cuda_graph=True, batch_sizes=[1])
    for batch in (1, 2):
        gpu.log.clear()
        for _ in range(2):
            frozen(pictures(1, batch=batch))
        assert any("(graph)" in line for line in gpu.log) == (batch == 1)


def test_graphs_can_be_turned_off(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_switches, "disabled", frozenset({"graph"}))
    frozen = network(cuda_graph=True)
    for _ in range(2):
        assert_right(frozen(pictures(1)), expected(1))
    assert not any("(graph)" in line for line in gpu.log)


def test_a_network_of_torch_operators_is_captured_too(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hgfast._native, "cuda_missing_reason", lambda: "the driver is old")
    frozen = network(cuda_graph=True)
    for seed in range(3):
        with torch.autocast("cuda", torch.bfloat16, enabled=seed == 0):  # it does not change what is promised
            assert_right(frozen(pictures(seed)), expected(seed))
    assert "calls by PyTorch" in frozen.describe(1, 16, 16) and any("convolution (graph)" in line for line in gpu.log)


def refuse_begin(gpu: Machine, monkeypatch: pytest.MonkeyPatch, frozen: hgfast.FrozenModel) -> None:
    def refused(*args: object, **options: object) -> None:
        raise RuntimeError("CUDA error: out of memory\nmore of it")

    monkeypatch.setattr(torch.cuda.CUDAGraph, "capture_begin", refused)


def refuse_within(gpu: Machine, monkeypatch: pytest.MonkeyPatch, frozen: hgfast.FrozenModel) -> None:
    interrupt(frozen, monkeypatch, lambda: torch.cuda.current_stream().synchronize(), captured=True)


@pytest.mark.parametrize("refuse", [refuse_begin, refuse_within])
def test_a_refused_capture(gpu: Machine, refuse: Callable, caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning; the call itself and those after it run launch by launch."""
    frozen = network(cuda_graph=True)
    refuse(gpu, monkeypatch, frozen)
    with caplog.at_level(logging.WARNING, "hgfast"):
        for batch in (1, 2, 1):
            assert_right(frozen(pictures(1, batch=batch)), expected(1, batch))
    assert [record.message.split(":")[0] for record in caplog.records] == ["a frozen network runs without CUDA graphs"]
    assert not any("(graph)" in line for line in gpu.log)
    assert torch.cuda.current_stream() == torch.cuda.default_stream() and not gpu.captures


@pytest.mark.parametrize("captured", [False, True])
def test_a_signal_in_the_middle_of_a_call(gpu: Machine, captured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler calls the network, and is not a part of the graph."""
    frozen, inner, handled = network(cuda_graph=True), [], threading.Event()
    x, others = pictures(1), pictures(2)

    def handler(number: int, frame: object) -> None:
        inner.extend(maps.cpu() for maps in frozen(others))
        handled.set()

    def be_called() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert handled.wait(10)

    interrupt(frozen, monkeypatch, be_called, captured)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        found = [frozen(x) for _ in range(2)]
    finally:
        signal.signal(signal.SIGUSR1, before)
    for maps in found:
        assert_right(maps, expected(1))
    assert_right(inner, expected(2))


def test_a_signals_handler_that_raises_during_a_capture(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Stop

    def be_called() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.05)

    frozen = network(cuda_graph=True)
    interrupt(frozen, monkeypatch, be_called, captured=True)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Stop):
            frozen(pictures(1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not gpu.captures and torch.cuda.current_stream() == torch.cuda.default_stream()
    assert_right(frozen(pictures(2)), expected(2))


def test_other_threads_work_during_a_capture(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for the device and pin memory, as DataLoader's do, neither of which CUDA allows in a capture."""
    frozen, done = network(cuda_graph=True), []

    def other() -> None:
        torch.cuda.synchronize()
        done.append(torch.ones(3).pin_memory())

    def run_other() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    interrupt(frozen, monkeypatch, run_other, captured=True)
    for _ in range(2):
        assert_right(frozen(pictures(1)), expected(1))
    assert len(done) == 1 and any("(graph)" in line for line in gpu.log)


def test_inference_mode_of_the_first_call_only(gpu: Machine) -> None:
    frozen = network(cuda_graph=True)
    with torch.inference_mode():
        assert_right(frozen(pictures(1)), expected(1))
    for seed in range(3):
        assert_right(frozen(pictures(seed)), expected(seed))


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_in_a_capture_of_the_callers_own(gpu: Machine, side: int, cuda_graph: bool) -> None:
    """The caller's graph goes on, whatever becomes of the network's plans, and on a stream without order to theirs."""
    frozen, static = network(cuda_graph=cuda_graph), pictures(0, side=side)
    frozen(pictures(0))
    graph = torch.cuda.CUDAGraph()
    packed = len(frozen._weights.tensors())
    with torch.cuda.graph(graph):
        found = frozen(static)
    assert len(frozen._weights.tensors()) == packed and (side == 16 or len(frozen._plans) == 1)
    frozen._plans.clear()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    for seed in range(1, 4):
        frozen(pictures(2, side=side))
        with torch.cuda.stream(stream):
            static.copy_(pictures(seed, side=side))
            graph.replay()
            assert_right(found, expected(seed, 1, side))
    frozen(pictures(2, side=side))
    torch.cuda.synchronize()


def test_the_first_call_cannot_be_captured(gpu: Machine) -> None:
    """Weights that are packed in a capture would be there only after a replay."""
    frozen, x = network(), pictures(0)
    with pytest.raises(RuntimeError, match="must be called once before a CUDA graph with it is captured"):
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            frozen(x)
    torch.cuda.set_stream(torch.cuda.default_stream())
    assert_right(frozen(pictures(1)), expected(1))


def test_all_sizes_share_the_packed_weights(gpu: Machine) -> None:
    frozen = network()
    packed = []
    for batch in (1, 2, 3):
        assert_right(frozen(pictures(1, batch=batch)), expected(1, batch))
        packed.append([id(tensor) for tensor in frozen._weights._packed.values()])
    assert packed[0] == packed[1] == packed[2]


def test_devices_and_drivers_that_cannot(gpu: Machine, caplog) -> None:
    hgfast._native._cuda.driver = "insufficient"
    with caplog.at_level(logging.WARNING, "hgfast"):
        frozen = network("cuda")
    assert "frozen networks run by PyTorch on cuda:0: the driver does not fit" in caplog.text
    assert_right(frozen(pictures(1)), expected(1))
