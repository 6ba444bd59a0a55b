"""gaussian_heatmaps against the peers' arrays and the float64 reference."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hgfast import reference
from hgfast.ops import gaussian_heatmaps
from hgfast.reference.gaussian_heatmaps import GAUSSIAN_KINDS
from tests.tolerances import assert_close

DATA = Path(__file__).parent / "data"
CASES = ["s2_64", "s3_96", "s2_96", "s2_48x64"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["msra", "unbiased", "udp"])
def test_mmpose_vectors(case: str, kind: str, device: str) -> None:
    vectors = np.load(DATA / "mmpose_encode.npz")
    in_w, in_h, w, h = vectors[f"{case}_inhm"].tolist()
    # UDP maps corner pixels onto corner pixels, the others have a plain stride
    stride = [(in_w - 1) / (w - 1), (in_h - 1) / (h - 1)] if kind == "udp" else [in_w / w, in_h / h]
    keypoints = torch.from_numpy(vectors[f"{case}_kpt"] / np.array(stride, dtype=np.float32))[None].to(device)
    visible = torch.from_numpy(vectors[f"{case}_vis"])[None].to(device)
    heatmaps, weights = gaussian_heatmaps(keypoints, visible, (w, h), float(vectors[f"{case}_sigma"][0]), kind)
    stored = vectors[f"{case}_unbiased_which"] if kind == "unbiased" else slice(None)
    assert np.abs(heatmaps[0].cpu().numpy()[stored] - vectors[f"{case}_{kind}_hm"]).max() <= 2e-7
    assert np.array_equal(weights[0].cpu().numpy(), vectors[f"{case}_{kind}_weight"])


@pytest.mark.parametrize(("name", "size"), [("gen", 64), ("gen96", 96)])
def test_princeton_vectors(name: str, size: int, device: str) -> None:
    vectors = np.load(DATA / "princeton_encode.npz")
    keypoints = torch.from_numpy(vectors[f"{name}_kp_f64"][None, :, :2]).to(device)
    visible = torch.ones(keypoints.shape[:2], device=device)
    heatmaps, _ = gaussian_heatmaps(keypoints, visible, (size, size), size / 64, "newell")
    assert np.abs(heatmaps[0].cpu().numpy() - vectors[f"{name}_hm"]).max() <= 2e-7


def random_points(n: int, k: int, w: int, h: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.rand(n, k, 2, generator=generator) * torch.tensor([2.0 * w, 2.0 * h]) - torch.tensor(
        [w / 2, h / 2]
    )
    keypoints[..., : k // 2, :] = keypoints[..., : k // 2, :].round()
    return keypoints, torch.tensor([0.0, 0.3, 0.5, 1.0, 2.0])[torch.randint(0, 5, (n, k), generator=generator)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.5, 2.0, 3.0, 9.0])
@pytest.mark.parametrize("kind", GAUSSIAN_KINDS)
def test_against_reference(kind: str, sigma: float, dtype: torch.dtype, device: str) -> None:
    for n, k, w, h in [(2, 17, 23, 16), (1, 4, 1, 1), (3, 2, 8, 5)]:
        keypoints, visible = random_points(n, k, w, h)
        heatmaps, weights = gaussian_heatmaps(
            keypoints.to(device), visible.to(device), (w, h), sigma, kind, dtype=dtype
        )
        expected, expected_weights = reference.gaussian_heatmaps(keypoints, visible, (w, h), sigma, kind, torch.float64)
        assert heatmaps.dtype == dtype and torch.equal(weights.cpu(), expected_weights)
        assert_close("gaussian_heatmaps", heatmaps, expected, expected.to(dtype))


COORDINATE = st.one_of(
    st.floats(-60, 100, width=32),
    st.integers(-80, 120).map(lambda halves: halves / 2),
    st.sampled_from([float("inf"), float("-inf"), float("nan"), 1e30, -1e30, 1e-40, -0.0, 2.0**31]),
)


@settings(deadline=None, max_examples=80)
@given(
    points=st.lists(
        st.tuples(COORDINATE, COORDINATE, st.sampled_from([0.0, 0.49, 0.5, 1.0, 2.0])), min_size=1, max_size=6
    ),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    sigma=st.sampled_from([0.3, 1.0, 2.0, 2.5, 7.0]),
    kind=st.sampled_from(list(GAUSSIAN_KINDS)),
)
def test_anything_at_all(points, size, sigma, kind) -> None:
    """Positions on, between, around and far from the pixels of maps from 1x1 up, and such as are none."""
    numbers = torch.tensor(points)
    keypoints, visible = numbers[None, :, :2], numbers[None, :, 2]
    heatmaps, weights = gaussian_heatmaps(keypoints, visible, size, sigma, kind)
    expected, expected_weights = reference.gaussian_heatmaps(keypoints, visible, size, sigma, kind, torch.float64)
    assert torch.equal(weights, expected_weights)
    torch.testing.assert_close(heatmaps.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", GAUSSIAN_KINDS)
def test_maps_wider_than_a_block(kind: str) -> None:
    keypoints, visible = random_points(1, 3, 700, 300)
    heatmaps, _ = gaussian_heatmaps(keypoints, visible, (700, 300), 20.0, kind)
    assert_close(
        "gaussian_heatmaps", heatmaps, reference.gaussian_heatmaps(keypoints, visible, (700, 300), 20.0, kind)[0]
    )


@pytest.mark.parametrize("kind", GAUSSIAN_KINDS)
def test_positions_that_are_no_positions(kind: str, device: str) -> None:
    inf, nan = float("inf"), float("nan")
    keypoints = torch.tensor([[[nan, 2], [2, nan], [inf, 2], [-inf, 2], [1e30, 1], [2, -1e30], [3e9, 3e9]]]).to(device)
    heatmaps, weights = gaussian_heatmaps(keypoints, torch.ones(1, 7, device=device), (8, 8), 2.0, kind)
    assert not heatmaps.any() and not weights.any()


def test_patch_that_ends_at_the_first_pixel_keeps_its_weight() -> None:
    """MMPose's off-by-one (mu + 3 sigma + 1 == 0): the map is empty, the weight stays."""
    heatmaps, weights = gaussian_heatmaps(torch.tensor([[[-7.6, 4.0]]]), torch.ones(1, 1), (8, 8), 2.0)
    assert not heatmaps.any() and weights.item() == 1


def test_empty(device: str) -> None:
    for n, k in [(0, 5), (3, 0)]:
        heatmaps, weights = gaussian_heatmaps(
            torch.zeros(n, k, 2, device=device), torch.zeros(n, k, device=device), (4, 6), 1.0
        )
        assert heatmaps.shape == (n, k, 6, 4) and weights.shape == (n, k)


POINTS, SEEN = torch.zeros(2, 3, 2), torch.ones(2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1], SEEN, (4, 4), 1.0), TypeError, "keypoints must be a torch.Tensor"),
        ((POINTS.int(), SEEN, (4, 4), 1.0), TypeError, "keypoints must have one of the dtypes"),
        ((POINTS[0], SEEN, (4, 4), 1.0), ValueError, "keypoints must have 3 dimensions"),
        ((POINTS, SEEN[:1], (4, 4), 1.0), ValueError, "keypoints must have shape (1, 3, 2)"),
        ((POINTS, SEEN.to("meta"), (4, 4), 1.0), ValueError, "visible must be on keypoints' device"),
        ((POINTS, SEEN, (4,), 1.0), ValueError, "size must have 2 entries, got 1"),
        ((POINTS, SEEN, (0, 4), 1.0), ValueError, "size[0] must be at least 1, got 0"),
        ((POINTS, SEEN, (4, 4), 0.0), ValueError, "sigma must be greater than 0, got 0.0"),
        ((POINTS, SEEN, (4, 4), float("nan")), ValueError, "sigma must be finite, got nan"),
        ((POINTS, SEEN, (4, 4), 1.0, "dark"), ValueError, "kind must be one of 'msra'"),
    ],
)
def test_bad_input(arguments, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        gaussian_heatmaps(*arguments)
