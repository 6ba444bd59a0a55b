"""Constructors of the modules, and what writes checkpoints: a wrong argument is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import hgfast.nn as fused
from hgfast import models, reference
from hgfast.checkpoint import convert_checkpoint, save_checkpoint

CASES: list[tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = [
    (
        module.ConvModule,
        {"in_channels": 4, "out_channels": 4, "kernel_size": 3},
        {"in_channels": "4", "out_channels": 0, "kernel_size": 2**31, "stride": [1], "bias": "no", "bn": 2, "relu": []},
    )
    for module in (fused, reference)
]
CASES += [
    (
        fused.BasicBlock,
        {"in_channels": 4, "out_channels": 4},
        {"in_channels": None, "out_channels": -1, "stride": 0, "downsample": 3},
    ),
    (fused.Bottleneck, {"in_channels": 4, "out_channels": 4}, {"in_channels": 2j, "out_channels": 1}),
    (
        fused.HourglassModule,
        {"depth": 1, "stage_channels": (4, 6), "stage_blocks": (1, 1)},
        {"depth": 10**400, "stage_channels": 4, "stage_blocks": (1, "a")},
    ),
    (fused.NewellHourglass, {"depth": 1, "channels": 4}, {"depth": 10**400, "channels": "a", "increase": -9}),
    (
        fused.BatchNormAct,
        {"num_features": 4},
        {
            "num_features": 0, "eps": float("nan"), "momentum": 1e300, "affine": {}, "track_running_stats": 3,
            "relu": None,
        },
    ),
    (
        fused.HeatmapDecoder,
        {},
        {
            "method": "none", "blur_kernel_size": 2, "flip_indices": 3, "shift": "yes", "temperature": 0, "window": -1,
            "to_input": [[1, 0, 0], [0, 1, 0]],
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "good", "name", "value"),
    [(make, good, name, value) for make, good, wrong in CASES for name, value in wrong.items()],
)
def test_a_wrong_argument_is_named(make: Callable[..., Any], good: dict[str, Any], name: str, value: Any) -> None:
    make(**good)
    with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
        make(**(good | {name: value}))


@pytest.mark.parametrize(("name", "value"), [("weights", 3), ("path", None), ("form", ["hgfast"]), ("meta", [1])])
def test_save_checkpoint_names_a_wrong_argument(name: str, value: Any, tmp_path: Path) -> None:
    good = {"weights": nn.Linear(1, 1), "path": tmp_path / "a.pt", "form": "hgfast", "meta": None}
    save_checkpoint(**good)
    with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
        save_checkpoint(**(good | {name: value}))


@pytest.mark.parametrize("name", ["source", "target"])
def test_convert_checkpoint_names_a_wrong_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=rf"\b{name}\b"):
        convert_checkpoint(**({"source": tmp_path / "a", "target": tmp_path / "b"} | {name: 3}))


def test_modules_that_take_no_other_arguments() -> None:
    with pytest.raises(TypeError, match="model"):
        fused.convert_sync_batchnorm(3)  # type: ignore[arg-type]
    for wrong in ({"skip": 3, "low": 3}, {"skip": None, "low": None}):
        with pytest.raises(TypeError, match="skip"):
            fused.UpsampleAdd()(**wrong)


def test_numpys_numbers_are_numbers() -> None:
    n = np.int64
    models.HourglassPose(n(3), n(1), n(1), [n(4), n(4)], [n(1), n(1)], n(4), (n(4), n(4)))
    models.StackedHourglass(n(1), n(4), n(3), n(0), (n(4), n(4)))
