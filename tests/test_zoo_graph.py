"""Every network of tests/zoo is captured whole, and runs again by its graph with its own numbers."""

from __future__ import annotations

import pytest

from hgfast.graph import capture, ops
from tests.test_graph import assert_same
from tests.zoo.table import NETWORKS, Network, with_random_numbers

EXACT = (  # all that they call has a form in the graph
    *("hg8 (bearpaw)", "hg2 of GroupNorm", "hourglass52 (MMPose)", "hourglass104 with centres", "FAN-4"),
    *("associative embedding (pose-ae)", "associative embedding (MMPose)", "SimpleBaseline-50"),
    "hourglass of inverted residuals",
)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_captured_whole(network: Network) -> None:
    model, images = with_random_numbers(network.small()), network.images(2)
    graph = capture(model)
    convolutions = graph.count(ops.Conv) + graph.count(ops.Deconv)
    if network.random:  # its blocks ask whether they train
        assert set(graph.stops) and all("training" in str(stop) for stop in graph.stops.values())
    else:
        assert not graph.stops and convolutions == network.convolutions
    assert not (network.name in EXACT and graph.count(ops.Opaque))
    for training in (False, True):
        assert_same(model, graph, (images,), training)
