"""What freeze finds wrong in single calls, and what it takes for right."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hgfast
from hgfast.frozen.sums import Product
from tests.graph_models import Of
from tests.recipe import apply_recipe


class Faint(nn.Module):
    """A branch that hardly counts in the result."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.faint, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + 1e-7 * self.last(F.relu(self.norm(self.faint(x))))


def test_a_wrong_call_is_found_where_the_result_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = apply_recipe(Faint(), 1).eval()
    hgfast.freeze(model)
    fold = Product.scaled
    monkeypatch.setattr(Product, "scaled", lambda self, scale, shift: fold(self, 1.001 * scale, shift))
    with pytest.raises(RuntimeError, match=r"freeze: faint differs from the model's relu by .*, more than the 3e-04"):
        hgfast.freeze(model)


def test_what_cancels_is_not_taken_for_wrong() -> None:
    def forward(m: Of, x: Tensor) -> Tensor:
        y = m.relu(m.conv(x))
        y = torch.cat([y[:, :3], y[:, :3]], 1)
        return m.other(y) + m.conv(x)

    model = apply_recipe(Of(forward), 1).eval()
    with torch.no_grad():
        model.other.weight[:, 3:] = -model.other.weight[:, :3]
        model.other.bias.zero_()
    hgfast.freeze(model)


def test_networks_without_float64(caplog: pytest.LogCaptureFixture) -> None:
    model = apply_recipe(Of(lambda m, x: m.other(m.relu(m.conv(x).float()))), 1).eval()
    with caplog.at_level(logging.DEBUG, "hgfast"):
        hgfast.freeze(model)
    assert "calls are not compared, the network does not run in float64" in caplog.text


def test_statistics_and_modes_are_left_alone() -> None:
    model = apply_recipe(Faint(), 1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hgfast.freeze(model)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
