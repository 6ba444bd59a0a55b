"""Networks whose own code switches gradients: frozen ones have none, so that changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import hgfast
from hgfast.graph import capture
from tests.graph_models import Of
from tests.lower_models import frozen_of
from tests.tolerances import relative_error


def part_without(m: Of, x: Tensor) -> Tensor:
    y = m.norm(m.conv(x))
    with torch.no_grad():
        gate = torch.sigmoid(y)
    return m.other(y * gate)


@torch.no_grad()
def all_without(m: Of, x: Tensor) -> Tensor:
    return m.other(m.conv(x))


def part_in_inference_mode(m: Of, x: Tensor) -> Tensor:
    with torch.inference_mode():
        y = m.conv(x)
    return m.other(y)


def checkpointed(m: Of, x: Tensor) -> Tensor:
    return m.other(checkpoint(m.conv, x, use_reentrant=False)).relu()


@pytest.mark.parametrize("forward", [part_without, all_without, part_in_inference_mode, checkpointed])
def test_gradients_that_are_switched(forward: Any) -> None:
    model, frozen = frozen_of(Of(forward))
    images = torch.randn(2, 3, 9, 6)
    with torch.no_grad():
        assert relative_error(frozen(images), model(images)) < 1e-5
    assert capture(model, training=False).stops, "with gradients they count"
    assert not capture(model, training=False, gradients=False).stops


def test_gradients_must_be_a_bool() -> None:
    with pytest.raises(TypeError, match="gradients must be True or False, got int 0"):
        capture(nn.ReLU(), gradients=0)  # type: ignore[arg-type]


def test_fused_networks_keep_their_switches() -> None:
    model = Of(part_without)
    fused, x = hgfast.fuse(model), torch.randn(1, 3, 6, 6)
    weight = model.conv.weight
    fused(x).sum().backward()
    plain = torch.autograd.grad(part_without(model, x).sum(), weight)[0]
    assert weight.grad is not None and relative_error(weight.grad, plain) < 1e-5
