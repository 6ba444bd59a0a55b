"""fuse and freeze take the same convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hgfast
from tests.tolerances import relative_error

OURS: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 3, "padding": (1, 1), "stride": 2},
    {"kernel_size": 7, "padding": 3},
    {"kernel_size": 1},
    {"kernel_size": 1, "padding": "valid"},
]
OTHERS: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": "same", "padding_mode": "circular"},
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": "valid"},
    {"kernel_size": 3, "padding": (1, 0)},
    {"kernel_size": (3, 1), "padding": (1, 0)},
    {"kernel_size": 2, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": (2, 1)},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": 1, "groups": 2},
]


@pytest.mark.parametrize("settings", OURS + OTHERS, ids=str)
def test_both_take_it_or_neither(settings: dict[str, Any]) -> None:
    model, x = nn.Sequential(nn.Conv2d(4, 6, **settings), nn.BatchNorm2d(6), nn.ReLU()), torch.randn(2, 4, 12, 12)
    with torch.no_grad():
        expected = model.eval()(x)
        frozen = hgfast.freeze(model)
        assert relative_error(frozen(x), expected) < 1e-5
    kinds = {type(call).__name__ for call in frozen.graph.calls}
    fused = hgfast.fuse(model)
    assert relative_error(fused(x), expected) < 1e-5
    ours = settings in OURS
    assert ("0" not in fused.fusion.left, "ConvCall" in kinds) == (ours, ours), (fused.fusion.left, kinds)
