"""Kernels chosen by their times, which a clock of the tests' own gives: on the emulated card, where nothing has any."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import hypot
from pathlib import Path
from typing import Any

import pytest
import torch

from hgfast import _kernel_table, _switches
from hgfast._times import DEVIATIONS
from hgfast.frozen import make, tune, verify
from hgfast.frozen.choices import Choices
from hgfast.frozen.graph import BottleneckCall, ConvCall
from hgfast.frozen.plan import Plan
from hgfast.frozen.torch_step import WITH_POINTWISE
from tests.card_times import FakeClock, by_name, time_of, use
from tests.frozen_on_card import (
    SIZES,
    calls,
    check_results,
    forget,
    frozen_network,
    plan_of,
    plant,
    second_item,
    trust,
)

WRONG = "mma 128x64"  # the kernel that tests plant mistakes in, and the only one that is run


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, card: Path) -> Iterator[type[FakeClock]]:
    """On the emulated card all kernels take 10 us, unless the test says otherwise, and are right; each run is 1 ms."""
    found, runs = use(monkeypatch), []
    first_run = tune._first_run

    def run(probe: Any, needs: Any) -> Any:
        runs.append(needs)
        return first_run(probe, needs) if needs.kernel.startswith(WRONG) else probe.ready(needs)

    trust(monkeypatch, WRONG)
    monkeypatch.setattr(tune, "_first_run", run)
    monkeypatch.setattr(tune.time, "monotonic", lambda: 0.001 * len(runs))
    monkeypatch.setattr(make, "tunes", lambda device: _switches.tune != "0")
    yield found


def only(kernel: str, fast: float, slow: float = 10.0) -> Any:
    """This kernel takes the card so long, the others so long."""
    return by_name({kernel: fast}, slow)


def kernels_of(plan: Plan) -> set[str]:
    return {plan.needs[call.output].kernel for call in calls(plan) if isinstance(call, ConvCall)}


def test_ties_go_to_what_was_expected(clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(frozen_network("mmpose", torch.bfloat16))
    monkeypatch.setattr(_switches, "tune", "0")
    forget(monkeypatch)
    clock.asked.clear()
    expected = plan_of(frozen_network("mmpose", torch.bfloat16))
    assert not clock.asked
    assert [verify.label(needs) for needs in plan.needs.values()] == [
        verify.label(needs) for needs in expected.needs.values()
    ]


@pytest.mark.parametrize("fastest", ["mma 128x64", "wgmma 128x64", WITH_POINTWISE.kernel])
def test_the_fastest_kernel_is_taken(fastest: str, clock: type[FakeClock]) -> None:
    clock.time = only(fastest, 4.0)
    plan = check_results("mmpose", torch.bfloat16)
    assert fastest in kernels_of(plan)
    for call in calls(plan):
        names = [kernel.kernel for kernel in plan.choices.kernels.get(plan.choices.names[call.output], [])]
        if fastest in names[: tune.KERNELS] or (fastest in names and fastest == WITH_POINTWISE.kernel):
            assert plan.needs[call.output].kernel == fastest


@pytest.mark.parametrize(("faster_by", "taken"), [(0.9, False), (1.1, True)])
def test_less_than_the_noise_is_no_reason(faster_by: float, taken: bool, clock: type[FakeClock]) -> None:
    """That of a difference: two standard errors of two times, whatever kernel it is."""
    noise = DEVIATIONS * hypot(0.3, 0.3)
    for kernel in ("mma 128x64", WITH_POINTWISE.kernel):
        clock.time = staticmethod(
            lambda name, kernel=kernel: time_of(10 - faster_by * noise * (name == kernel), error=0.3)
        )
        _kernel_table._tables.clear()
        plan = frozen_network("mmpose", torch.bfloat16)._new_plan(*SIZES["mmpose"])
        assert isinstance(plan, Plan) and (kernel in kernels_of(plan)) == taken
        plan.choices.table.path.unlink()  # type: ignore[union-attr]


@pytest.mark.parametrize("launched", [True, False])
def test_the_hosts_time_counts_where_calls_are_launched(launched: bool, clock: type[FakeClock]) -> None:
    """torch's way is the card's fastest, and the host's slowest."""
    by_torch = WITH_POINTWISE.kernel
    clock.time = staticmethod(lambda name: time_of(4.0, host=25.0) if name == by_torch else time_of(10.0, host=6.0))
    frozen = frozen_network("mmpose", torch.bfloat16)
    plan = make.make_plan(frozen._lib, frozen.graph, frozen._weights, *SIZES["mmpose"], launched=launched)
    assert (by_torch in kernels_of(plan)) != launched


def test_times_are_taken_once_a_card(clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch) -> None:
    clock.time = only("mma 128x64", 9.0)
    plan = plan_of(frozen_network("mmpose", torch.bfloat16))
    assert len(clock.asked) > len({name for name in plan.choices.names.values()})
    clock.asked.clear()
    forget(monkeypatch)
    again = plan_of(frozen_network("mmpose", torch.bfloat16))
    assert not clock.asked and kernels_of(again) == kernels_of(plan)
    monkeypatch.setattr(_switches, "tune", "force")
    forget(monkeypatch)
    clock.time = only("mma 64x64", 8.0)
    forced = plan_of(frozen_network("mmpose", torch.bfloat16))
    assert clock.asked and "mma 64x64" in kernels_of(forced) and "mma 128x64" not in kernels_of(forced)
    clock.asked.clear()
    plan_of(frozen_network("mmpose", torch.bfloat16))
    assert not clock.asked  # once a process


@pytest.mark.parametrize(("block", "taken"), [(25.0, True), (35.0, False)])
def test_a_block_is_held_against_its_three_convolutions(block: float, taken: bool, clock: type[FakeClock]) -> None:
    clock.time = staticmethod(lambda name: time_of(block if "bottleneck" in name else 10.0))
    plan = check_results("princeton", torch.bfloat16)
    blocks = [call for call in calls(plan) if isinstance(call, BottleneckCall)]
    assert (len(blocks) > 5) == taken and bool(blocks) == taken
    assert any("bottleneck" in kernel for kernel in clock.asked)


def test_time_is_bounded_and_the_rest_is_timed_later(clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "SECONDS", 0.0205)
    counts = []
    for _ in range(12):
        clock.asked.clear()
        runs = itertools.count()
        monkeypatch.setattr(tune.time, "monotonic", lambda runs=runs: 0.001 * next(runs))
        forget(monkeypatch)
        check_results("mmpose", torch.bfloat16) if not counts else plan_of(frozen_network("mmpose", torch.bfloat16))
        counts.append(len(clock.asked))
    assert max(counts) <= 22 and counts[0] > 15 and counts[-1] == 0


def test_the_fastest_kernel_must_be_right_too(clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch) -> None:
    clock.time = only("mma 128x64", 9.0)
    plant(monkeypatch, WRONG, second_item)
    plan = check_results("mmpose", torch.bfloat16)
    assert "mma 128x64" not in kernels_of(plan)
    assert plan.choices.table is not None and plan.choices.table.failures()


def test_a_kernel_that_fails_is_not_timed(
    clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("CUDA: launch of conv_mma_kernel: too many resources requested")

    plant(monkeypatch, WRONG, fail)
    plan = check_results("mmpose", torch.bfloat16)
    assert "too many resources requested" in caplog.text and "mma 128x64" not in kernels_of(plan)


def test_lack_of_memory_leaves_the_cost_model(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_memory(device: torch.device) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tune, "Clock", no_memory)
    check_results("mmpose", torch.bfloat16)
    assert "chosen without their times, for lack of memory" in caplog.text


def test_in_a_capture_times_count_and_none_is_taken(clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch) -> None:
    clock.time = only("mma 128x64", 9.0)
    frozen = frozen_network("mmpose", torch.bfloat16)
    plan = plan_of(frozen)
    clock.asked.clear()
    monkeypatch.setattr(make, "is_capturing", lambda device: True)
    in_capture, other = frozen._new_plan(*SIZES["mmpose"]), frozen._new_plan(1, 16, 16)
    assert isinstance(in_capture, Plan) and isinstance(other, Plan)
    assert kernels_of(in_capture) == kernels_of(plan) and not clock.asked


def test_times_without_verification(clock: type[FakeClock], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_switches, "disabled", frozenset({"verify"}))
    clock.time = only("mma 128x64", 9.0)
    plan = plan_of(frozen_network("mmpose", torch.bfloat16))
    assert "mma 128x64" in kernels_of(plan) and plan.choices.table is not None
    assert not any(finding.right for finding in plan.choices.table._findings.values())


def test_who_wants_the_same_results_gets_the_cost_model(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda", 0)
    assert tune.tunes(cuda) and not tune.tunes(torch.device("cpu"))
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    assert not tune.tunes(cuda)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    torch.use_deterministic_algorithms(True)
    try:
        assert not tune.tunes(cuda)
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(_switches, "tune", "0")
    assert not tune.tunes(cuda)


def test_nothing_is_known_without_a_table() -> None:
    choices = Choices(None, 1)
    assert choices.finding(WITH_POINTWISE, "any") == _kernel_table.Finding()
