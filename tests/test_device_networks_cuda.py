"""Stages of benchmarks/device that check whole networks, where these are wrong or late, on a fake card."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

import hgfast
from benchmarks.device import choice_checks, network_checks
from tests.device_cases import small_networks
from tests.fake_cuda.machine import Machine


def test_networks_that_are_wrong(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    small_networks(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert network_checks.check_graph("cuda", "another card after the first")["status"] == "absent"
    with pytest.raises(AssertionError, match="heatmaps differ: here"):
        network_checks._same([torch.zeros(1)], [torch.ones(1)], "here")
    monkeypatch.setattr(hgfast._native, "cuda_missing_reason", lambda: "the driver is old")
    found = network_checks.check_layers("cuda", "hg2", 1)
    assert found["status"] == "wrong" and "the driver is old" in found["note"]


@pytest.mark.parametrize("home", [None, "/nowhere"])
def test_kernels_are_tried_and_timed_once(gpu: Machine, monkeypatch: pytest.MonkeyPatch, home: str | None) -> None:
    """In a table of their own; where it takes too long, or is done again, that is told."""
    small_networks(monkeypatch)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setattr(choice_checks, "AGAIN", -1000.0)
    counted: list[int] = []
    plan = hgfast.FrozenModel.plan

    def counting(*arguments: Any) -> Any:
        before = len(gpu.log)
        found = plan(*arguments)
        counted.append(len(gpu.log) - before)
        return found

    monkeypatch.setattr(hgfast.FrozenModel, "plan", counting)
    assert choice_checks.check_choices("cuda", "hg2")["status"] == "late"
    _, plain, tried, timed, again = counted
    assert plain < min(tried, timed) and again == plain
    assert os.environ.get("XDG_CACHE_HOME") == home
    monkeypatch.setattr(hgfast._native, "cuda_missing_reason", lambda: "the driver is old")
    found = choice_checks.check_choices("cuda", "hg2")
    assert found["status"] == "wrong" and "the driver is old" in found["note"]
