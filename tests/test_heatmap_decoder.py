"""HeatmapDecoder: codecs' numbers, one graph under torch.compile, torch.export, other devices and dtypes."""

from __future__ import annotations

import pytest
import torch

from hgfast.codecs import MSRAHeatmap, NewellHeatmap, UDPHeatmap
from hgfast.nn import HeatmapDecoder
from hgfast.ops import decode_flip, decode_heatmaps
from tests.heatmap_samples import figure_maps

METHODS = ["argmax", "quarter", "dark", "dark_udp", "newell", "soft"]
PAIRS = [1, 0, 2, 3]
SIZE = (64, 64), (16, 16)
CODECS = [MSRAHeatmap(*SIZE, 2), MSRAHeatmap(*SIZE, 2, unbiased=True), UDPHeatmap(*SIZE), NewellHeatmap(*SIZE)]


def inputs(device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    maps, flipped = figure_maps((3, 4, 16, 16)).to(device), figure_maps((3, 4, 16, 16), seed=1).to(device)
    return maps, flipped, torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0)).to(device)


def assert_same(ours, theirs) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("codec", CODECS)
def test_from_codec(codec, device) -> None:
    maps, flipped, matrix = inputs(device)
    decoder = HeatmapDecoder.from_codec(codec, PAIRS).to(device)
    assert_same(decoder(maps), codec.decode(maps))
    assert_same(decoder(maps, flipped), codec.decode_flip(maps, flipped, PAIRS))
    assert_same(decoder(maps, flipped, matrix), codec.decode_flip(maps, flipped, PAIRS, matrix))


@pytest.mark.parametrize("method", METHODS)
def test_heatmap_pixels(method, device) -> None:
    maps, flipped, matrix = inputs(device)
    decoder = HeatmapDecoder(method, 7, flip_indices=PAIRS, shift=False)
    assert_same(decoder(maps), decode_heatmaps(maps, method, 7))
    assert_same(decoder(maps, flipped, matrix), decode_flip(maps, flipped, PAIRS, method, False, matrix, 7))


class Network(torch.nn.Module):
    """A convolution and a decoder: what a deployed network looks like."""

    def __init__(self, decoder: HeatmapDecoder) -> None:
        super().__init__()
        self.head, self.decoder = torch.nn.Conv2d(3, 4, 1), decoder

    def forward(self, images: torch.Tensor, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.decoder(self.head(images), self.head(images.flip(-1)), matrix)


@pytest.mark.parametrize("method", METHODS)
def test_export_with_any_batch(method) -> None:
    network = Network(HeatmapDecoder(method, flip_indices=PAIRS, to_input=torch.eye(2, 3) * 4)).eval()
    images, matrix = torch.randn(3, 3, 16, 16), torch.randn(3, 2, 3)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(network, (images, matrix), dynamic_shapes=({0: batch}, {0: batch}))
    for n in (3, 5):
        images, matrix = torch.randn(n, 3, 16, 16), torch.randn(n, 2, 3)
        assert_same(exported.module()(images, matrix), network(images, matrix))


@pytest.mark.parametrize("method", METHODS)
def test_compiles_into_one_graph(method) -> None:
    network = Network(HeatmapDecoder(method, flip_indices=PAIRS, to_input=torch.eye(2, 3) * 4)).eval()
    images, matrix = torch.randn(3, 3, 16, 16), torch.randn(3, 2, 3)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    assert_same(compiled(images, matrix), network(images, matrix))
    torch._dynamo.reset()


def test_matrix_keeps_its_precision() -> None:
    decoder = HeatmapDecoder(to_input=torch.tensor([[4.1, 0, 0], [0, 4.1, 0]], dtype=torch.float64))
    assert decoder.half().to_input.dtype == torch.float64 and decoder.to_input[0, 0].item() == 4.1
    assert not decoder.state_dict()


def test_flip_needs_indices() -> None:
    maps, flipped, _ = inputs()
    with pytest.raises(ValueError, match="HeatmapDecoder: flipped needs flip_indices"):
        HeatmapDecoder()(maps, flipped)
