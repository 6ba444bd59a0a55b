"""A small frozen network on fake devices, and what it is to give."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import hgfast
from hgfast import models
from hgfast.frozen.graph import Graph
from tests.frozen_on_card import Sums
from tests.recipe import apply_recipe
from tests.small_models import small_model


def tiny() -> nn.Module:
    """Of 22 convolutions; images of 8 by 8 and more."""
    return apply_recipe(models.HourglassPose(2, 1, 1, (8, 6), (1, 1), 8, (4, 8), "reference"), 7).eval()


@functools.cache
def graph_of(family: str) -> Graph:
    if family == "sums":
        return hgfast.freeze(apply_recipe(Sums(), 7).eval()).graph
    model = tiny() if family == "tiny" else apply_recipe(small_model(family, "reference"), 7).eval()
    return hgfast.freeze(model).graph


def network(device: str = "cuda:0", family: str = "mmpose", **options) -> hgfast.FrozenModel:
    return hgfast.FrozenModel(graph_of(family), device=device, **options)


def pictures(seed: int, device: str = "cuda:0", batch: int = 1, side: int = 16) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed)).to(device)


@functools.cache
def expected(seed: int, batch: int = 1, side: int = 16, family: str = "mmpose") -> list[torch.Tensor]:
    """By the same kernels on the CPU's way: another order of additions."""
    return hgfast.FrozenModel(graph_of(family))(pictures(seed, "cpu", batch, side))


def assert_right(found: list[torch.Tensor], wanted: list[torch.Tensor], allowed: float = 1e-4) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs.cpu(), rtol=allowed, atol=allowed)


def interrupt(frozen: hgfast.FrozenModel, monkeypatch: pytest.MonkeyPatch, what: Callable, captured: bool) -> None:
    """Do something once, before a kernel in the middle of a plan, where it is captured or where it is launched."""
    step = frozen.plan(1, 16, 16).steps[20]
    function = step.function

    def interrupted(*arguments: object) -> None:
        if torch.cuda.is_current_stream_capturing() == captured:
            monkeypatch.setattr(step, "function", function)
            what()
        function(*arguments)

    monkeypatch.setattr(step, "function", interrupted)


def begin_anew(monkeypatch: pytest.MonkeyPatch, folder: Path, family: str) -> None:
    """Tables of kernels in a folder of their own; what results are compared with is made without devices."""
    for seed in range(3):
        expected(seed, family=family)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
