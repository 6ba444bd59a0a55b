"""The peers of the whole-network benchmarks compute what the network computes; one that does not is refused."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import networks
from benchmarks.cudnn_fusion import fused
from tests.small_models import FAMILIES, small_model
from tests.tolerances import relative_error


def convolution_relu(x: Tensor, weight: Tensor, bias: Tensor, *shape: Any) -> Tensor:
    return F.relu(F.conv2d(x, weight, bias, *shape))


def convolution_add_relu(x: Tensor, weight: Tensor, z: Tensor, alpha: float, bias: Tensor, *shape: Any) -> Tensor:
    return F.relu(F.conv2d(x, weight, bias, *shape) + alpha * z)


@pytest.fixture(params=FAMILIES)
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[nn.Module]:
    """A small network in the place of every other; ATen in the place of cuDNN, unless there is a GPU."""

    def build(name: str, implementation: str) -> nn.Module:
        return small_model(request.param, implementation, num_keypoints=networks.KEYPOINTS)

    monkeypatch.setattr(networks.hgfast.models, "build", build)
    monkeypatch.setattr(torch, "cudnn_convolution_relu", convolution_relu)
    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", convolution_add_relu)
    networks.network.cache_clear()
    yield networks.network("hg2")
    networks.network.cache_clear()


def test_fused_by_hand_is_the_same_network(small: nn.Module) -> None:
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = small(images)[-1], fused(copy.deepcopy(small))(images)[-1]
    assert relative_error(found, expected) < 1e-5
    with pytest.raises(ValueError, match="must be in evaluation mode"):
        fused(copy.deepcopy(small).train())


def test_inference_peers_agree(small: nn.Module) -> None:
    calls = networks.inference("cpu", "hg2", 64, 2, "tf32")
    for peer in ("eager", "eager, cudnn.benchmark", "cuDNN fused by hand"):
        assert calls[peer]().shape == (2, networks.KEYPOINTS, 16, 16)


def test_a_peer_that_computes_something_else_is_refused(small: nn.Module) -> None:
    images = torch.randn(1, 3, 64, 64)
    check = networks.agrees("hg2", images, 0.02)
    wrong = networks.Lazy(lambda: lambda: networks.network("hg2")(images)[-1] * 1.1, check)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="differs from the float32 network in image 0: relative error 0.1"):
            wrong()


def test_training_peers_change_the_weights(small: nn.Module) -> None:
    plain = copy.deepcopy(small).train()
    before = [parameter.detach().clone() for parameter in plain.parameters() if parameter.requires_grad]
    target = torch.rand(2, networks.KEYPOINTS, 16, 16)
    networks.training_step(plain, torch.randn(2, 3, 64, 64), target, F.mse_loss)()
    after = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    changed = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert sum(changed) > 0.8 * len(changed)  # a bias before a BatchNorm has no gradient


def test_cases_are_in_order_of_value_and_for_the_card_only() -> None:
    names = [case.name for case in networks.CASES]
    assert len(names) == len(set(names)) == 39
    assert names[0] == "networks/hourglass52-256/batch 1/bfloat16"
    assert all(tuple(case.devices) == ("cuda",) and case.peers[0] == "hgfast" for case in networks.CASES)


@pytest.mark.parametrize(("batch", "wrong", "noticed"), [(1, 0, True), (5, 2, True), (5, 4, True), (5, 1, False)])
def test_first_middle_and_last_image_are_compared(small: nn.Module, batch: int, wrong: int, noticed: bool) -> None:
    images = torch.randn(batch, 3, 64, 64)
    check = networks.agrees("hg2", images, 0.02)
    with torch.no_grad():
        heatmaps = small(images)[-1].clone()
    check(heatmaps)
    heatmaps[wrong] *= 1.1
    if noticed:
        with pytest.raises(RuntimeError, match=f"in image {wrong}: relative error 0.1 > 0.02"):
            check(heatmaps)
    else:
        check(heatmaps)
