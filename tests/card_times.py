"""Times as tests make them up, and a clock that gives them in the place of hgfast._clock.Clock."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from hgfast import _switches
from hgfast._times import EVENT_ERROR, Measured, Time
from hgfast.frozen import tune

HOST = 1.0  # us, unless a test says otherwise


def time_of(card: float, host: float = HOST, error: float = EVENT_ERROR) -> Time:
    """Microseconds of a call."""
    return Time(Measured(card, error), Measured(host, error))


def by_name(times: Mapping[str, float], others: float, error: float = EVENT_ERROR) -> Callable[[str], Time]:
    """Microseconds of what is timed, by its name; `others` of what is not named."""
    return lambda name: time_of(times.get(name, others), error=error)


def name_of(call: Any) -> str:
    """The kernel that `Probe.ready`'s call runs, or the function that is an operator's way."""
    if isinstance(call, functools.partial):
        return call.func.__name__
    return next(cell.cell_contents.kernel for cell in call.__closure__ if hasattr(cell.cell_contents, "kernel"))


class FakeClock:
    """Takes each time from `time`, by the name of what is timed, and none itself. One for all devices."""

    time: Callable[[str], Time]
    asked: list[str]  # the names

    def __init__(self, device: torch.device) -> None:
        pass

    def times(self, calls: Sequence[Callable[[], object]]) -> list[Time]:
        """Of each call."""
        names = [name_of(call) for call in calls]
        FakeClock.asked += names
        return [FakeClock.time(name) for name in names]


def use(monkeypatch: pytest.MonkeyPatch, time: Callable[[str], Time] = lambda name: time_of(10.0)) -> type[FakeClock]:
    """Times are taken, by this clock."""
    FakeClock.time, FakeClock.asked = staticmethod(time), []
    monkeypatch.setattr(tune, "Clock", FakeClock)
    monkeypatch.setattr(_switches, "tune", "1")
    return FakeClock
