"""Frozen networks try their kernels before their first use: streams, captures, threads, errors, on fake devices."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from hgfast import _kernel_table
from hgfast.frozen import verify
from hgfast.frozen.plan import Plan
from tests.fake_cuda import kernels, library, networks
from tests.fake_cuda.machine import Machine
from tests.fake_cuda.networks import assert_right, begin_anew, pictures
from tests.frozen_on_card import plant, second_item
from tests.tolerances import relative_error

pytestmark = pytest.mark.verify
network, expected = partial(networks.network, family="tiny"), partial(networks.expected, family="tiny")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of the tables; what the tests compare with is made without devices."""
    begin_anew(monkeypatch, tmp_path, "tiny")
    networks.expected(1, family="sums")
    yield tmp_path / "hgfast"


def spoil(monkeypatch: pytest.MonkeyPatch, *algorithms: int) -> None:
    """These kernels of the fake library write one number that is wrong."""
    monkeypatch.setattr(kernels, "NAMES", kernels.NAMES | dict.fromkeys(algorithms, "fake wrong"))


@pytest.mark.parametrize(("where", "cuda_graph"), [("cuda:0", True), ("cuda:1", False)])
def test_kernels_are_tried_once(gpu: Machine, cache: Path, where: str, cuda_graph: bool) -> None:
    x = pictures(1, where)
    for first in (True, False):
        gpu.log.clear()
        frozen = network(where, cuda_graph=cuda_graph)
        for _ in range(2):
            assert_right(frozen(x), expected(1))
        assert any("sum" in line for line in gpu.log) == first
    assert len(list(cache.glob("kernels-*.json"))) == 1 and torch.cuda.current_device() == 0


def test_a_wrong_kernel_is_replaced(gpu: Machine, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    spoil(monkeypatch, 2)  # of odd batches
    with caplog.at_level(logging.WARNING, "hgfast"):
        frozen = network(cuda_graph=True)
        for seed in range(3):
            assert_right(frozen(pictures(seed)), expected(seed))
    assert all("the kernel 'fake wrong' is not used" in record.message for record in caplog.records) and caplog.records
    assert {step.kernel for step in frozen.plan(1, 16, 16).steps} == {"fake"}


@pytest.mark.parametrize("later", [False, True])
def test_pointwise_calls_are_tried_and_replaced_too(
    gpu: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    """By torch, in float32: the kernel that is wrong, and the one that cannot be launched any more."""

    def fails(*arguments: object) -> None:
        raise RuntimeError("CUDA error: invalid argument")

    if not later:
        plant(monkeypatch, "batch_norm_act", second_item)
    frozen = networks.network(family="sums")
    with caplog.at_level(logging.WARNING, "hgfast"):
        plan = frozen.plan(1, 16, 16)
        assert isinstance(plan, Plan)
        for index, step in enumerate(plan.steps):
            if later and step.kernel == "batch_norm_act":
                monkeypatch.setattr(plan.steps[index], "function", fails)
        assert_right(frozen(pictures(1)), networks.expected(1, family="sums"))
    assert [call.output for call in plan.graph.calls if plan.needs[call.output].kernel == "torch"] == [1, 6]
    told = "invalid argument" if later else "differs from torch's in float32"
    assert [record.message.count(told) for record in caplog.records] == [1, 1]


def test_without_a_right_kernel_torch_convolves(gpu: Machine, monkeypatch) -> None:
    spoil(monkeypatch, 1, 2)
    frozen = network(cuda_graph=True)
    for seed in range(3):
        assert_right(frozen(pictures(seed)), expected(seed))
    assert "torch conv2d, pointwise kernels" in {step.kernel for step in frozen.plan(1, 16, 16).steps}
    assert any("_convolution (graph)" in line or "convolution (graph)" in line for line in gpu.log)


def test_a_kernel_that_fails(gpu: Machine, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("CUDA error: invalid argument")

    monkeypatch.setitem(library.OWN, "conv", fails)
    with caplog.at_level(logging.WARNING, "hgfast"):
        assert_right(network()(pictures(1)), expected(1))
    assert "RuntimeError: CUDA error: invalid argument" in caplog.text


def test_without_memory_nothing_is_tried(gpu: Machine, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    def fails(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(verify, "Noise", fails)
    with caplog.at_level(logging.WARNING, "hgfast"):
        assert_right(network()(pictures(1)), expected(1))
    assert "kernels are used that were not tried: CUDA out of memory" in caplog.text


def test_nothing_is_tried_in_a_callers_capture(gpu: Machine, monkeypatch) -> None:
    """What is known to be wrong is left out all the same."""
    spoil(monkeypatch, 2)
    frozen, x = network(), pictures(0)
    frozen(pictures(0))
    known = dict(next(iter(_kernel_table._tables.values()))._findings)
    graph, other = torch.cuda.CUDAGraph(), pictures(0, side=32)
    with torch.cuda.graph(graph):
        found, of_other = frozen(x), frozen(other)
    assert next(iter(_kernel_table._tables.values()))._findings == known
    graph.replay()
    assert_right(found, expected(0))
    assert of_other[0].is_cuda


def test_several_threads_try_on_streams_of_their_own(gpu: Machine) -> None:
    frozen, found, errors = network(cuda_graph=True), {}, []

    def work(seed: int) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                found[seed] = [maps.cpu() for maps in frozen(pictures(seed, batch=seed + 1))]
        except BaseException as error:  # is shown by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for seed in range(3):
        assert_right(found[seed], expected(seed, seed + 1))


def test_bfloat16_and_whole_blocks(gpu: Machine) -> None:
    frozen = networks.network(family="princeton", dtype=torch.bfloat16)
    found = frozen(pictures(1, batch=2, side=64))
    for ours, theirs in zip(found, networks.expected(1, 2, 64, "princeton"), strict=True):
        assert relative_error(ours.cpu(), theirs) < 0.05
    assert "fake block" in {step.kernel for step in frozen.plan(2, 64, 64).steps}


def test_a_kernel_that_cannot_be_launched_later_on(gpu: Machine, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("CUDA error: invalid argument")

    frozen = network()
    frozen(pictures(0))
    step = frozen.plan(1, 16, 16).steps[5]
    monkeypatch.setattr(step, "function", fails)
    with caplog.at_level(logging.WARNING, "hgfast"):
        assert_right(frozen(pictures(1)), expected(1))
    assert "CUDA error: invalid argument" in caplog.text and frozen.plan(1, 16, 16).steps[5] is not step


def test_torch_alone_is_the_last_way(gpu: Machine, monkeypatch) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("CUDA error: invalid argument")

    monkeypatch.setitem(library.OWN, "conv", fails)
    monkeypatch.setitem(library.OWN, "batch_norm_apply", fails)
    frozen = network(cuda_graph=True)
    for seed in range(2):
        assert_right(frozen(pictures(seed)), expected(seed))
    assert {step.kernel for step in frozen.plan(1, 16, 16).steps} == {"torch"}
