"""Whether weights of a compiled graph are what they were, on fake devices: the host waits, but not in a capture."""

from __future__ import annotations

import pytest
import torch

from hgfast.dynamo.weights import Numbers
from tests.fake_cuda.machine import Machine


def weights() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, generator=generator).to("cuda:0") for size in ((4, 3, 3, 3), (4,))]


@pytest.mark.parametrize("number", [0, 1])
def test_numbers_that_are_written(gpu: Machine, number: int) -> None:
    kept = weights()
    numbers = Numbers(kept)
    assert numbers.are(kept)
    kept[number].data.view(-1)[-1] += 1
    assert not numbers.are(kept)
    assert Numbers(kept).are(kept)


def test_another_shape(gpu: Machine) -> None:
    kept = weights()
    assert not Numbers(kept).are([kept[0], kept[1][:2]])


def test_nothing_is_waited_for_in_a_capture(gpu: Machine) -> None:
    """Which would be lost; it goes on with the weights that were folded last."""
    kept = weights()
    numbers = Numbers(kept)
    kept[0].zero_()
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        assert numbers.are(kept)
    assert not numbers.are(kept)
