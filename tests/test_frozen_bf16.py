"""Networks frozen in bfloat16 on the CPU: accuracy, files, what is said of them."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

import hgfast
from hgfast.frozen.lower import Product
from tests.conv_calls import has_pairs
from tests.recipe import apply_recipe
from tests.small_models import FAMILIES, small_model

SIDE = {"mmpose": 16, "princeton": 64}


def trained(family: str) -> nn.Module:
    """A small network whose BatchNorms are no identities."""
    return apply_recipe(small_model(family, "reference"), 7).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_no_further_from_float64_than_torch_in_bfloat16(family: str) -> None:
    model = trained(family)
    frozen, images = hgfast.freeze(model, dtype=torch.bfloat16), torch.randn(2, 3, SIDE[family], 2 * SIDE[family])
    expected = copy.deepcopy(model).double()(images.double())
    theirs = copy.deepcopy(model).bfloat16()(images.bfloat16())
    for ours, other, exact in zip(frozen(images), theirs, expected, strict=True):
        assert ours.dtype == torch.bfloat16 and ours.shape == exact.shape
        assert (ours - exact).norm() <= 1.2 * (other - exact).norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_files_and_copies_give_the_same_bits(family: str, tmp_path: Path) -> None:
    frozen, images = hgfast.freeze(trained(family), dtype=torch.bfloat16), torch.randn(1, 3, SIDE[family], SIDE[family])
    frozen.save(tmp_path / "frozen.pt")
    loaded = hgfast.FrozenModel.load(tmp_path / "frozen.pt", dtype=torch.bfloat16)
    for other in (loaded, copy.deepcopy(frozen)):
        for a, b in zip(frozen(images), other(images), strict=True):
            assert torch.equal(a, b)


def test_says_what_is_multiplied_in_which_precision(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = hgfast.freeze(trained("mmpose"), dtype=torch.bfloat16)
    rows = [line for line in frozen.describe(1, 64, 64).splitlines() if "GFLOP" in line and "max-pool" not in line][:-1]
    assert rows and all(sum(f"{kind} products" in row for kind in ("bf16", "int16", "float32")) == 1 for row in rows)
    assert any("bf16 products" in row for row in rows) == has_pairs()
    monkeypatch.setattr("hgfast.frozen.precision.multiplies_bfloat16", lambda lib: False)
    with caplog.at_level(logging.WARNING, "hgfast"):
        copy.deepcopy(frozen)
    assert "no AVX512_BF16: frozen networks are not faster in bfloat16 than in float32" in caplog.text


def test_refuses_a_result_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = Product.scaled
    monkeypatch.setattr(Product, "scaled", lambda self, scale, shift: fold(self, 1.3 * scale, shift))
    with pytest.raises(RuntimeError, match="output 0 differs from the model's by .* that torch.bfloat16 may"):
        hgfast.freeze(trained("mmpose"), dtype=torch.bfloat16)


def test_float16_has_no_kernels() -> None:
    with pytest.raises(
        ValueError, match=r"dtype must be one of torch.float32, torch.bfloat16, torch.int8 on cpu, got torch.float16"
    ):
        hgfast.freeze(trained("mmpose"), dtype=torch.float16)
