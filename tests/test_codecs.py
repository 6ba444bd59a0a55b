"""Codecs against MMPose's numbers: targets, weights, and keypoints in input pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hgfast.codecs import MSRAHeatmap, NewellHeatmap, UDPHeatmap

DATA = Path(__file__).parent / "data"


def load(name):
    with np.load(DATA / name) as data:
        return dict(data)


@pytest.fixture(scope="module")
def encoded():
    return load("mmpose_encode.npz")


@pytest.fixture(scope="module")
def decoded():
    return load("mmpose_decode.npz")


def sizes(data, case):
    width, height, map_width, map_height = (int(v) for v in data[f"{case}_inhm"])
    return (width, height), (map_width, map_height)


@pytest.mark.parametrize("case", ["s2_64", "s3_96", "s2_96", "s2_48x64"])
def test_targets(encoded, case):
    sigma = float(encoded[f"{case}_sigma"][0])
    points, visible = (torch.from_numpy(encoded[f"{case}_{name}"])[None] for name in ("kpt", "vis"))
    for name, codec in (
        ("msra", MSRAHeatmap(*sizes(encoded, case), sigma)),
        ("udp", UDPHeatmap(*sizes(encoded, case), sigma)),
        ("unbiased", MSRAHeatmap(*sizes(encoded, case), sigma, unbiased=True)),
    ):
        heatmaps, weights = codec.encode(points, visible)
        which = encoded.get(f"{case}_{name}_which", slice(None))
        np.testing.assert_allclose(heatmaps[0][which], encoded[f"{case}_{name}_hm"], atol=2e-6)
        np.testing.assert_array_equal(weights[0], encoded[f"{case}_{name}_weight"])


@pytest.mark.parametrize("case", ["g64", "g96", "g48x64"])
def test_keypoints(decoded, case):
    maps = torch.from_numpy(decoded[f"{case}_hm"])[None]
    size = sizes(decoded, case)
    found, scores = MSRAHeatmap(*size, 2).decode(maps)
    np.testing.assert_allclose(found[0], decoded[f"{case}_msra_kpt"], rtol=1e-6)
    np.testing.assert_array_equal(scores[0], decoded[f"{case}_max_val"])
    good = decoded[f"{case}_max_val"] > 0
    for name, codec in (("dark", MSRAHeatmap(*size, 2, unbiased=True)), ("udp", UDPHeatmap(*size, 2))):
        found, _ = codec.decode(maps)
        np.testing.assert_allclose(found[0][good], decoded[f"{case}_{name}_k11_kpt"][good], atol=2e-2)


@pytest.mark.parametrize("codec", [MSRAHeatmap, UDPHeatmap, NewellHeatmap])
def test_there_and_back(codec):
    """A keypoint comes back to within the codec's resolution: half a heatmap pixel (2 input pixels), and a quarter."""
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.uniform(30, 220, (4, 6, 2)).astype(np.float32))
    coder = codec((256, 256), (64, 64), 2.0)
    heatmaps, weights = coder.encode(points, torch.ones(4, 6))
    found, scores = coder.decode(heatmaps)
    assert (weights == 1).all() and (scores > 0.9).all()
    assert (found - points).abs().max() < (1.2 if codec is UDPHeatmap else 4.1)


def test_errors():
    with pytest.raises(ValueError, match=r"input_size: expected \(width, height\)"):
        MSRAHeatmap((256,), (64, 64), 2)
    with pytest.raises(ValueError, match="heatmap_size: expected"):
        UDPHeatmap((256, 256), (64, 1), 2)
    with pytest.raises(ValueError, match="sigma: expected a positive number, got 0"):
        NewellHeatmap((256, 256), (64, 64), 0)
    with pytest.raises(ValueError, match=r"heatmaps: expected shape \(N, K, 64, 64\), got \(1, 2, 32, 32\)"):
        MSRAHeatmap((256, 256), (64, 64), 2).decode(torch.zeros(1, 2, 32, 32))
