"""`freeze` on every network of tests/zoo: the same numbers, and all convolutions but depthwise ones in kernels."""

from __future__ import annotations

import pytest
import torch

import hgfast
from tests.tolerances import relative_error
from tests.zoo.count import torch_convolutions
from tests.zoo.table import NETWORKS, Network, results, with_random_numbers


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_freeze(network: Network) -> None:
    model, images = with_random_numbers(network.small()).eval(), network.images(2)
    with torch.no_grad():
        expected = results(model(images))
    if network.nhwc:  # a frozen network takes (N, 3, H, W), and gives its stacks one by one
        images, expected = images.permute(0, 3, 1, 2), list(expected[0].unbind(1))
    frozen = hgfast.freeze(model)
    got = results(frozen(images))
    assert [y.shape for y in got] == [y.shape for y in expected]
    assert all(relative_error(*pair) < 1e-5 for pair in zip(got, expected, strict=True))
    in_kernels = network.convolutions - torch_convolutions(lambda: frozen(images)).total()
    assert in_kernels == network.frozen
