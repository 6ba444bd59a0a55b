"""What frozen networks fall back on, on fake devices: kernels that fail, memory that is short, times that are not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import hgfast
from hgfast import _clock, _switches
from hgfast._times import Time
from hgfast.frozen import tune, verify
from hgfast.frozen.plan import Plan
from hgfast.frozen.torch_plan import TorchPlan
from tests.card_times import FakeClock, by_name, use
from tests.fake_cuda import kernels, library, networks
from tests.fake_cuda.machine import Machine
from tests.fake_cuda.networks import assert_right, network, pictures
from tests.tolerances import relative_error

pytestmark = pytest.mark.verify
CONV = "torch conv2d, pointwise kernels"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No table; graphs are made without devices."""
    for family in ("princeton", "sums"):
        networks.graph_of(family)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_clock, "COLD_BYTES", 1 << 10)
    monkeypatch.setattr(tune, "SECONDS", 1000.0)


def fails(*arguments: object) -> None:
    raise RuntimeError("CUDA error: invalid argument")


def plan_of(frozen: hgfast.FrozenModel, batch: int = 1, side: int = 64) -> Plan:
    plan = frozen.plan(batch, side, side)
    assert isinstance(plan, Plan)
    return plan


@pytest.mark.parametrize("pointwise", [True, False])
def test_poolings_and_second_outputs_by_torch(gpu: Machine, monkeypatch: pytest.MonkeyPatch, pointwise: bool) -> None:
    """Under autocast too, which is not asked."""
    for name in ("conv", "bottleneck", "max_pool", *(() if pointwise else ("batch_norm_apply",))):
        monkeypatch.setitem(library.OWN, name, fails)
    frozen = network(family="princeton")
    assert_right(frozen(pictures(1, side=64)), networks.expected(1, side=64, family="princeton"))
    assert {step.kernel for step in plan_of(frozen).steps} == ({CONV, "torch"} if pointwise else {"torch"})
    with torch.autocast("cuda", torch.bfloat16):
        assert_right(frozen(pictures(2, side=64)), networks.expected(2, side=64, family="princeton"))


def test_whole_blocks_and_poolings_in_a_callers_capture(gpu: Machine) -> None:
    """Another batch than that of the first call, whose packed weights are there."""
    frozen, x = network(family="princeton", dtype=torch.bfloat16), pictures(1, batch=3, side=64)
    frozen(pictures(0, batch=2, side=64))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = frozen(x)
    graph.replay()
    for ours, theirs in zip(found, networks.expected(1, 3, 64, "princeton"), strict=True):
        assert relative_error(ours.cpu(), theirs) < 0.05
    assert "fake block" in {step.kernel for step in plan_of(frozen, 3).steps}


def test_a_block_that_fails_later_gives_way_to_its_convolutions(
    gpu: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another stream, too, which uses memory that is new to it."""
    frozen, x = network(family="princeton", dtype=torch.bfloat16), pictures(0, batch=2, side=64)
    frozen(x)
    plan = plan_of(frozen, 2)
    blocks = sum(step.kernel == "fake block" for step in plan.steps)
    step = next(step for step in plan.steps if step.kernel == "fake block")
    monkeypatch.setattr(step, "function", fails)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with caplog.at_level(logging.WARNING, "hgfast"), torch.cuda.stream(stream):
        found = frozen(x)
    stream.synchronize()
    assert caplog.text.count("invalid argument") == 1
    assert plan_of(frozen, 2) is plan and sum(step.kernel == "fake block" for step in plan.steps) < blocks
    for ours, theirs in zip(found, networks.expected(0, 2, 64, "princeton"), strict=True):
        assert relative_error(ours.cpu(), theirs) < 0.05


def test_a_sum_by_torchs_plan(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hgfast._native._cuda, "driver", "insufficient")
    frozen = network(family="sums")
    assert_right(frozen(pictures(1, side=64)), networks.expected(1, side=64, family="sums"))
    assert isinstance(frozen.plan(1, 64, 64), TorchPlan)


def test_a_kernel_that_finds_no_memory_is_not_called_wrong(
    gpu: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*arguments: object) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setitem(library.OWN, "conv", no_memory)
    with caplog.at_level(logging.WARNING, "hgfast"):
        plan = plan_of(network(family="sums"))
    assert "kernels are used that were not tried: CUDA error: out of memory" in caplog.text
    assert plan.choices.table is not None and not plan.choices.table.failures()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, gpu: Machine) -> type[FakeClock]:
    return use(monkeypatch)


@pytest.mark.parametrize("fastest", ["fake block", "fake odd"])
def test_a_block_is_held_against_three_convolutions(clock: type[FakeClock], fastest: str) -> None:
    """100 us against 3 x 100, or against 3 x 10."""
    clock.time = by_name({fastest: 10.0}, 100.0)
    frozen = network(family="princeton", dtype=torch.bfloat16)
    plan = plan_of(frozen, 2)
    assert ("fake block" in {step.kernel for step in plan.steps}) == (fastest == "fake block")
    for ours, theirs in zip(
        frozen(pictures(1, batch=2, side=64)), networks.expected(1, 2, 64, "princeton"), strict=True
    ):
        assert relative_error(ours.cpu(), theirs) < 0.05


def test_times_are_taken_again_where_that_is_forced(clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch) -> None:
    plan_of(network(family="sums"))
    asked = len(clock.asked)
    assert asked
    plan_of(network(family="sums"))
    assert len(clock.asked) == asked
    monkeypatch.setattr(_switches, "tune", "force")
    hgfast._kernel_table._tables.clear()  # as a new process
    for _ in range(2):
        plan_of(network(family="sums"))
    assert len(clock.asked) == 2 * asked


def test_what_there_was_no_time_for_is_left(clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "SECONDS", -1.0)
    frozen = network(family="sums")
    assert_right(frozen(pictures(1, side=64)), networks.expected(1, side=64, family="sums"))
    assert not clock.asked


def test_a_kernel_that_fails_is_neither_timed_nor_used(
    clock: type[FakeClock], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = kernels.conv

    def odd_fails(shape: kernels.ConvShape, *arguments: object) -> None:
        if shape.algorithm % 16 == 2:
            fails()
        conv(shape, *arguments)  # type: ignore[arg-type]

    monkeypatch.setitem(library.OWN, "conv", odd_fails)
    with caplog.at_level(logging.WARNING, "hgfast"):
        frozen = network(family="sums")
        assert_right(frozen(pictures(1, side=64)), networks.expected(1, side=64, family="sums"))
    assert "the kernel 'fake odd, K in" not in caplog.text and "the kernel 'fake odd' is not used" in caplog.text
    assert "fake odd" not in {step.kernel for step in plan_of(frozen).steps}


@pytest.mark.parametrize(("owner", "method"), [(FakeClock, "times"), (verify.Probe, "ready")])
def test_without_memory_nothing_is_timed(
    owner: type, method: str, clock: type[FakeClock], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the clock, or for a kernel's weights and workspace."""

    def no_memory(*arguments: object) -> list[Time]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(owner, method, no_memory)
    with caplog.at_level(logging.WARNING, "hgfast"):
        frozen = network(family="sums")
        assert_right(frozen(pictures(1, side=64)), networks.expected(1, side=64, family="sums"))
    assert "kernels are chosen without their times, for lack of memory: CUDA out of memory" in caplog.text
