"""Operators called by themselves on the emulated card: right kernels pass what they are tried by, wrong ones do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hgfast import _kernel_table, ops, reference
from hgfast.ops import _first_call
from hgfast.ops._ways import KERNEL, TORCH
from tests.frozen_on_card import plant, second_item
from tests.tolerances import relative_error

pytestmark = pytest.mark.usefixtures("card")
ALLOWED = {torch.float32: 2e-3, torch.float16: 2e-3, torch.bfloat16: 2e-2}  # float32: as tf32


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_first_call, "_convs", {})
    monkeypatch.setattr(_first_call, "_blocks", {})


def randoms(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(shape, generator=generator) / 4).to(dtype) for shape in shapes]


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("dtype", ALLOWED)
def test_a_convolution(
    dtype: torch.dtype, wrong: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With all that may follow it; where every kernel is wrong the operator is torch's."""
    if wrong:
        plant(monkeypatch, "mma", second_item)
        plant(monkeypatch, "wgmma", second_item)
    x, weight, bias, residual, large = randoms(
        dtype, (2, 16, 9, 8), (24, 16, 3, 3), (24,), (2, 24, 5, 4), (2, 24, 9, 7)
    )
    exact = reference.conv_bias_act(
        x.double(), weight.double(), bias.double(), 2, residual.double(), True, large.double()
    )
    for _ in range(2):
        found = ops.conv_bias_act(x, weight, bias, 2, residual, True, large)
        assert relative_error(found, exact) < ALLOWED[dtype]
    ((needs, way),) = _first_call._convs.values()
    (table,) = _kernel_table._tables.values()
    assert (needs is None) == wrong == bool(table.failures()) == ("is not used for" in caplog.text)
    assert (way == TORCH) >= wrong


@pytest.mark.parametrize("wrong", [False, True])
def test_a_block(wrong: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    if wrong:
        plant(monkeypatch, "wgmma bottleneck", second_item)
        plant(monkeypatch, "mma bottleneck", second_item)
    c, m = 32, 16
    shapes = (2, c, 9, 8), (c,), (c,), (m, c, 1, 1), (m,), (m, m, 3, 3), (m,), (c, m, 1, 1), (c,)
    tensors = randoms(torch.bfloat16, *shapes)
    exact = reference.bottleneck(*(tensor.double() for tensor in tensors))
    for _ in range(2):
        assert relative_error(ops.bottleneck(*tensors), exact) < ALLOWED[torch.bfloat16]
    ((needs, way),) = _first_call._blocks.values()
    assert (needs is None) == wrong == ("is not used for" in caplog.text)
    assert (way != KERNEL) >= wrong
