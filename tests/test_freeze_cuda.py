"""Where frozen networks are made and run, on fake devices: devices, dtypes, networks without kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hgfast
from tests.fake_cuda.machine import Machine
from tests.fake_cuda.networks import assert_right, expected, network, pictures
from tests.recipe import apply_recipe
from tests.small_models import small_model


@pytest.fixture(autouse=True)
def known() -> None:
    """What the tests compare with is made without devices."""
    expected(1), expected(1, 1, 64, "princeton")


def test_devices_that_are_not_there(gpu: Machine) -> None:
    with pytest.raises(ValueError, match="FrozenModel: device must be 'cuda:1' at most, got 'cuda:2'"):
        network("cuda:2")
    frozen = network("cuda:1")
    with pytest.raises(ValueError, match="images must be on cuda:1, where the model was frozen, got cuda:0"):
        frozen(pictures(1))


def test_freezing_a_model_where_it_is(gpu: Machine) -> None:
    """In the model's own dtype; what is float32 is held against tf32's tolerance where that is allowed."""
    for dtype, tf32 in ((torch.float32, True), (torch.bfloat16, False)):
        model = apply_recipe(small_model("mmpose", "reference"), 7).eval().to("cuda:1", dtype)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32):
            frozen = hgfast.freeze(model)
        assert frozen.dtype == dtype and frozen.device == torch.device("cuda:1") and frozen.tf32 == tf32
        assert_right(frozen(pictures(1, "cuda:1")), [maps.to(dtype) for maps in expected(1)], 0.1)


def test_pointwise_calls_of_torch(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hgfast._native, "cuda_missing_reason", lambda: "the driver is old")
    assert_right(network(family="princeton")(pictures(1, side=64)), expected(1, 1, 64, "princeton"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch finds no CUDA device"):
        network("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    parts = [nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)]
    model = apply_recipe(nn.Sequential(*parts), 3).eval()
    wanted = model(pictures(1, "cpu")).detach()
    assert_right([hgfast.freeze(model.to("cuda"))(pictures(1))], [wanted])
