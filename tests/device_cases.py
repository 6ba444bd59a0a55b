"""Stages of benchmarks/device with networks that are small enough for tests."""

from __future__ import annotations

import pytest

from benchmarks.device import choice_checks, network_checks
from hgfast import _clock
from hgfast.frozen import tune
from tests.fake_cuda.networks import tiny


def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of those that are asked for; kernels may be tried and timed for as long as that takes here."""
    small = tiny()
    monkeypatch.setattr(network_checks, "network", lambda name: small)
    monkeypatch.setattr(network_checks, "SIDE", 16)
    monkeypatch.setattr(network_checks, "BATCHES", (1, 2))
    monkeypatch.setattr(choice_checks, "NETWORKS", ("hg2",))
    monkeypatch.setattr(choice_checks, "BATCH", 2)
    monkeypatch.setattr(_clock, "COLD_BYTES", 1 << 10)
    monkeypatch.setattr(tune, "SECONDS", 1000.0)
    for name in ("TRIED", "TIMED", "AGAIN"):
        monkeypatch.setattr(choice_checks, name, 1000.0)
