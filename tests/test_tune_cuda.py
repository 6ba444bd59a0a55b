"""Frozen networks time their kernels, on fake devices: a cold cache before each run, events on the current stream."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from hgfast import _clock, _kernel_table, _switches
from hgfast._times import EVENT_ERROR, RUNS
from hgfast.frozen import tune
from tests.fake_cuda import networks
from tests.fake_cuda.machine import LAUNCH_MS, Machine
from tests.fake_cuda.networks import assert_right, begin_anew, pictures

network, expected = partial(networks.network, family="tiny"), partial(networks.expected, family="tiny")


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A small cache to empty, and time for all kernels, however busy the machine is."""
    begin_anew(monkeypatch, tmp_path, "tiny")
    monkeypatch.setattr(_clock, "COLD_BYTES", 1 << 10)
    monkeypatch.setattr(tune, "SECONDS", 1000.0)
    yield


def test_clock(gpu: Machine) -> None:
    """Rounds of all calls; each has its own cold cache and its own two events."""
    clock, order = _clock.Clock(torch.device("cuda", 0)), []
    x, y = (torch.zeros(8, device="cuda:0") for _ in range(2))

    def once() -> None:
        order.append("once")
        x.add_(1)

    def thrice() -> None:
        order.append("thrice")
        for _ in range(3):
            y.add_(1)

    short, long = clock.times([once, thrice])
    assert order == ["once", "thrice"] * RUNS and clock.cold.eq(0).all()
    assert short.card.value == pytest.approx(1000 * LAUNCH_MS) and long.card.value == pytest.approx(3000 * LAUNCH_MS)
    assert short.card.error == pytest.approx(EVENT_ERROR) and long.card.exceeds(short.card)
    assert short.host.value > 0 and clock.times([]) == []


@pytest.mark.verify
@pytest.mark.parametrize(("where", "cuda_graph"), [("cuda:0", True), ("cuda:1", False)])
def test_kernels_are_timed_once(gpu: Machine, where: str, cuda_graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_switches, "tune", "1")
    times: list[object] = []
    measure = _clock.Clock.times
    monkeypatch.setattr(_clock.Clock, "times", lambda self, calls: times.extend(calls) or measure(self, calls))
    stream = torch.cuda.Stream(torch.device(where))
    for first in (True, False):
        times.clear()
        with torch.cuda.device(where), torch.cuda.stream(stream):
            frozen = network(where, cuda_graph=cuda_graph)
            found = [frozen(pictures(seed, where)) for seed in range(3)]
        stream.synchronize()
        for seed, maps in enumerate(found):
            assert_right(maps, expected(seed))
        assert bool(times) == first
    (table,) = _kernel_table._tables.values()
    assert sum(finding.time is not None for finding in table._findings.values()) > 20
    assert torch.cuda.current_device() == 0
