"""Codecs against MMPose's numbers: targets, weights, and keypoints in input pixels."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from hgfast import codecs
from hgfast.codecs import ExactUDPHeatmap, MSRAHeatmap, NewellHeatmap, UDPHeatmap
from hgfast.ops import flip_merge

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
def test_targets(encoded, device, case):
    sigma = float(encoded[f"{case}_sigma"][0])
    points, visible = (torch.from_numpy(encoded[f"{case}_{name}"])[None].to(device) for name in ("kpt", "vis"))
    for name, codec in (
        ("msra", MSRAHeatmap(*sizes(encoded, case), sigma)),
        ("udp", UDPHeatmap(*sizes(encoded, case), sigma)),
        ("unbiased", MSRAHeatmap(*sizes(encoded, case), sigma, unbiased=True)),
    ):
        heatmaps, weights = (out[0].cpu() for out in codec.encode(points, visible))
        which = encoded.get(f"{case}_{name}_which", slice(None))
        np.testing.assert_allclose(heatmaps[which], encoded[f"{case}_{name}_hm"], rtol=0, atol=2e-7)
        np.testing.assert_array_equal(weights, encoded[f"{case}_{name}_weight"])
        if name == "unbiased":
            flat = heatmaps.flatten(1).double()
            stats = torch.stack((flat.sum(1), flat.amax(1), (flat > 0).sum(1), flat.argmax(1)), 1)
            np.testing.assert_allclose(stats[:, :2], encoded[f"{case}_{name}_stats_f64"][:, :2], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(stats[:, 2:], encoded[f"{case}_{name}_stats_f64"][:, 2:])


@pytest.mark.parametrize(("name", "side"), [("gen", 64), ("gen96", 96)])
def test_newell_targets(device, name, side):
    data = load("princeton_encode.npz")
    points = torch.from_numpy(data[f"{name}_kp_f64"][None, :, :2]).to(device)
    codec = NewellHeatmap((side, side), (side, side))  # the peer's joints are in heatmap pixels
    heatmaps, _ = codec.encode(points, torch.ones(points.shape[:2], device=device))
    np.testing.assert_allclose(heatmaps[0].cpu(), data[f"{name}_hm"], rtol=0, atol=2e-7)


@pytest.mark.parametrize("case", ["g64", "n64", "g96", "g48x64", "edge24x20"])
def test_keypoints_of_the_quarter_step(decoded, device, case):
    maps = torch.from_numpy(decoded[f"{case}_hm"])[None].to(device)
    found, scores = MSRAHeatmap(*sizes(decoded, case), 2).decode(maps)
    np.testing.assert_array_equal(found[0].cpu(), decoded[f"{case}_msra_kpt"])
    np.testing.assert_array_equal(scores[0].cpu(), decoded[f"{case}_max_val"])


LOG_CASES = [(case, 11) for case in ("g64", "n64", "g96", "g48x64", "edge24x20")] + [("g64", 17), ("g96", 17)]


@pytest.mark.parametrize(("case", "blur"), LOG_CASES)
@pytest.mark.parametrize("name", ["dark", "udp"])
def test_keypoints_of_logarithms(decoded, device, name, case, blur):
    maps = torch.from_numpy(decoded[f"{case}_hm"])[None].to(device)
    size = sizes(decoded, case)
    codec = UDPHeatmap(*size, blur_kernel_size=blur)
    if name == "dark":
        codec = MSRAHeatmap(*size, 2, unbiased=True, blur_kernel_size=blur)
    found, scores = (out[0].cpu().numpy() for out in codec.decode(maps))
    np.testing.assert_array_equal(scores, decoded[f"{case}_max_val"])
    sensitivity = decoded[f"{case}_{name}_k{blur}_sens"]
    decided = (scores > 0) & (sensitivity <= 0.05)
    error = np.abs(found - decoded[f"{case}_{name}_k{blur}_kpt"]).max(-1) / np.max(np.divide(*size))
    assert decided.any() and (error <= np.maximum(1e-3, 20 * sensitivity))[decided].all()
    np.testing.assert_allclose(
        found[scores <= 0], np.broadcast_to(-codec.decode_scale(), (4, 2))[: (scores <= 0).sum()]
    )


def test_flip_test_to_the_picture(device):
    generator = torch.Generator().manual_seed(0)
    maps, flipped = (torch.rand(2, 4, 16, 12, generator=generator).to(device) for _ in range(2))
    matrix = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64).to(device)
    for codec in (
        MSRAHeatmap((48, 64), (12, 16), 2),
        UDPHeatmap((48, 64), (12, 16)),
        NewellHeatmap((48, 64), (12, 16)),
    ):
        plain, scores = codec.decode_flip(maps, flipped, [1, 0, 3, 2])
        merged = flip_merge(maps, flipped, [1, 0, 3, 2], shift=isinstance(codec, MSRAHeatmap))
        expected = codec.decode(merged)
        torch.testing.assert_close(plain, expected[0], rtol=1e-5, atol=1e-4)
        assert torch.equal(scores, expected[1])
        mapped, _ = codec.decode_flip(maps, flipped, [1, 0, 3, 2], matrix)
        there = (matrix[:, None, :, :2] @ plain.double()[..., None])[..., 0] + matrix[:, None, :, 2]
        torch.testing.assert_close(mapped.double(), there, rtol=1e-5, atol=1e-4)


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


@pytest.mark.parametrize("codec", [ExactUDPHeatmap, UDPHeatmap])
def test_the_exact_codec_has_no_bias(codec):
    """The peer's decoder moves a point at the right edge by a pixel of the network's input."""
    x, y = torch.linspace(40, 215, 15), torch.linspace(150, 42, 15)
    points = torch.stack([x, y], 1)[None]
    coder = codec((256, 192), (64, 48), 2.0)
    found, _ = coder.decode(coder.encode(points, torch.ones(1, 15))[0])
    bias = points[0] / torch.tensor([255.0, 191.0]) if codec is UDPHeatmap else torch.zeros(15, 2)
    assert (found[0] - points[0] - bias).abs().max() < 0.01


def test_the_crop_and_the_shift_of_each_codec():
    made = {name: codecs.build(name, (64, 48), (16, 12), 2.0) for name in codecs.CODECS}
    assert {name for name, codec in made.items() if codec.udp} == {"udp", "udp_exact"}
    assert {name for name, codec in made.items() if codec.shift} == {"msra", "unbiased"}
    with pytest.raises(ValueError, match="build: name must be one of 'msra'.*; got 'x'"):
        codecs.build("x", (64, 48), (16, 12), 2.0)


@pytest.mark.parametrize("name", codecs.CODECS)
def test_loss_is_that_of_the_targets(name, device):
    codec = codecs.build(name, (61, 47), (16, 12), 2.0)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(3, 4, 2, generator=generator).to(device) * 60 - 5
    visible = (torch.rand(3, 4, generator=generator) > 0.4).float().to(device)
    stacks = [torch.rand(3, 4, 12, 16, generator=generator).to(device).requires_grad_() for _ in range(2)]
    targets, weights = codec.encode(points, visible)
    weights = torch.ones_like(weights) if name == "newell" else weights
    expected = sum(((stack - targets).square() * weights[..., None, None]).mean() for stack in stacks)
    loss = codec.loss(stacks, points, visible)
    torch.testing.assert_close(loss, expected)
    for mine, theirs in zip(torch.autograd.grad(loss, stacks), torch.autograd.grad(expected, stacks), strict=True):
        torch.testing.assert_close(mine, theirs)


SIZES = ((48, 64), (12, 16))
MAPS = torch.rand(2, 3, 16, 12)


@pytest.mark.parametrize("codec", [MSRAHeatmap, UDPHeatmap, NewellHeatmap])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_size", (256,)),
        ("input_size", (48.5, 64)),
        ("input_size", 48),
        ("input_size", None),
        ("heatmap_size", (12, 1)),
        ("heatmap_size", (10**6, 16)),
        ("heatmap_size", "ab"),
        ("sigma", 0),
        ("sigma", float("inf")),
        ("sigma", float("nan")),
        ("sigma", "2"),
        ("sigma", 10**400),
        ("blur_kernel_size", 4),
        ("blur_kernel_size", 11.0),
        ("heatmap_type", "combined"),
        ("unbiased", 1),
    ],
)
def test_bad_settings(codec, name, value):
    settings = {"input_size": SIZES[0], "heatmap_size": SIZES[1], "sigma": 2.0} | {name: value}
    if name in inspect.signature(codec).parameters:
        with pytest.raises((TypeError, ValueError), match=f"^{codec.__name__}: {name}"):
            codec(**settings)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("keypoints", lambda c: c.encode([], torch.ones(1, 2))),
        ("keypoints", lambda c: c.encode(torch.ones(1, 2, 2, dtype=torch.int64), torch.ones(1, 2))),
        ("keypoints", lambda c: c.encode(torch.ones(1, 2, 3), torch.ones(1, 2))),
        ("keypoints", lambda c: c.encode(torch.ones(1, 2, 2).to_sparse(), torch.ones(1, 2))),
        ("keypoints", lambda c: c.encode(torch.nn.UninitializedParameter(), torch.ones(1, 2))),
        ("visible", lambda c: c.encode(torch.ones(1, 2, 2), torch.ones(1, 3))),
        ("visible", lambda c: c.encode(torch.ones(1, 2, 2), torch.nn.UninitializedParameter())),
        ("heatmaps", lambda c: c.decode([])),
        ("heatmaps", lambda c: c.decode(MAPS[:, :, :8])),
        ("heatmaps", lambda c: c.decode(MAPS[0])),
        ("heatmaps", lambda c: c.decode(MAPS.to_sparse())),
        ("heatmaps", lambda c: c.decode(torch.nested.nested_tensor([MAPS[0], MAPS[0]]))),
        ("inverse_affine", lambda c: c.decode(MAPS, [[1, 0, 0], [0, 1, 0]])),
        ("inverse_affine", lambda c: c.decode(MAPS, torch.zeros(5, 2, 3))),
        ("inverse_affine", lambda c: c.decode(MAPS, torch.zeros(2, 3, dtype=torch.complex64))),
        ("flipped", lambda c: c.decode_flip(MAPS, MAPS[:1], [0, 1, 2])),
        ("flip_indices", lambda c: c.decode_flip(MAPS, MAPS, [0, 1, 3])),
        ("shift", lambda c: c.decode_flip(MAPS, MAPS, [0, 1, 2], shift="no")),
    ],
)
def test_bad_arguments(name, call):
    with pytest.raises((TypeError, ValueError), match=f": {name}"):
        call(MSRAHeatmap(*SIZES, 2.0))
