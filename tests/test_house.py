"""The way from a public function to the native one gets no longer than docs/architecture.md says."""

from __future__ import annotations

import pytest
import torch

import hgfast
from tests.house import calls, depth, recorded


def test_each_call_is_recorded() -> None:
    assert set(recorded()) == set(calls()), "python -m tests.house"


@pytest.mark.parametrize("name", calls())
def test_depth(name: str) -> None:
    _, call = calls()[name]
    assert depth(call) <= recorded()[name]


def test_a_longer_way_is_seen() -> None:
    skip, low = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2)
    assert depth(lambda: hgfast.nn.UpsampleAdd()(skip, low)) > depth(lambda: hgfast.ops.upsample_add(skip, low))
