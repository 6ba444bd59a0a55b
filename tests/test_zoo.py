"""The networks of tests/zoo are what the table says: as published, and narrow ones of the same blocks."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from tests.zoo.count import GROUPED, TRANSPOSED, torch_convolutions
from tests.zoo.count import ONE_PIXEL as PIXEL
from tests.zoo.table import DECONV, DEPTHWISE, GROUP_NORM, NETWORKS, ONE_PIXEL, STEM, Network, results

ALL = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
KINDS = {"7x7": STEM, GROUPED: DEPTHWISE, PIXEL: ONE_PIXEL, TRANSPOSED: DECONV}


@cache
def full(name: str) -> nn.Module:
    """A network as published, without memory."""
    with torch.device("meta"):
        return next(network for network in NETWORKS if network.name == name).full()


@ALL
def test_full_size(network: Network) -> None:
    """Parameters as published, names and shapes of the public layout, heatmaps in the sizes of the input."""
    model = full(network.name)
    with torch.no_grad():
        outputs = results(model(network.images(1, network.size).to("meta")))
    assert all(len(output) == 1 for output in outputs)
    state = model.state_dict()
    assert {name: tuple(state[name].shape) for name in network.keys} == network.keys
    if network.millions is not None:
        digits = len(network.millions.partition(".")[2])
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert f"{parameters / 1e6:.{digits}f}" == network.millions


@ALL
def test_narrow_ones_are_made_of_the_same_modules(network: Network) -> None:
    with torch.device("meta"):
        small = network.small()
    assert {type(module) for module in small.modules()} == {type(module) for module in full(network.name).modules()}


@ALL
def test_convolutions_of_the_narrow_ones(network: Network) -> None:
    """Each is one that a kernel takes or of a kind that is left; those kinds are seen as the network runs."""
    model, images = network.small().eval(), network.images(1)
    with torch.no_grad():
        ran = torch_convolutions(lambda: model(images))
    assert ran.total() == network.convolutions
    seen = {KINDS[kind]: count for kind, count in ran.items() if kind in KINDS}
    assert seen == {kind: count for kind, count in network.left.items() if kind != GROUP_NORM}
    assert set(ran) - set(KINDS) <= {"1x1", "3x3"}
