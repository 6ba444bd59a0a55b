"""heatmap_peaks against the float64 reference, max-pooling by hand, and its documented outcomes."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hgfast import reference
from hgfast.ops import decode_heatmaps, heatmap_peaks
from tests.heatmap_samples import awkward_maps, figure_maps

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
FORMATS = [torch.contiguous_format, torch.channels_last]
METHODS = ["argmax", "quarter", "newell"]
SHAPES = [(2, 16, 16, 16), (1, 17, 11, 13), (2, 3, 5, 40), (3, 5, 1, 9), (1, 3, 7, 1), (2, 9, 1, 1)]
# every dtype where rows and channels fill vectors of it and where they do not; every shape in float32
SHAPES_AND_DTYPES = [(shape, dtype) for shape in SHAPES[:2] for dtype in DTYPES]
SHAPES_AND_DTYPES += [(shape, torch.float32) for shape in SHAPES[2:]]


def assert_like_reference(maps: torch.Tensor, count: int, threshold: float, method: str, device: str = "cpu") -> None:
    keypoints, scores = (
        out.cpu().double() for out in heatmap_peaks(maps.to(device), count, threshold=threshold, method=method)
    )
    expected = reference.heatmap_peaks(maps.double(), count, threshold, method)
    assert torch.equal(scores, expected[1]) and torch.equal(keypoints, expected[0])


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("shape", "dtype"), SHAPES_AND_DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_all_layouts_and_dtypes(method, shape, dtype, memory_format, device) -> None:
    maps = figure_maps(shape).to(dtype).contiguous(memory_format=memory_format)
    for count, threshold in ((1, 0.0), (5, 0.0), (30, 0.015625), (2, -0.03125)):
        assert_like_reference(maps, count, threshold, method, device)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("method", METHODS)
def test_awkward_maps(method, memory_format, device) -> None:
    maps = torch.stack(list(awkward_maps().values()))[None].contiguous(memory_format=memory_format)
    assert_like_reference(maps, 7, 0.0, method, device)


def test_outcomes_by_hand(device) -> None:
    """Two people in a crop, a shoulder beside a peak, fewer peaks than asked for."""
    maps = torch.zeros(1, 1, 8, 10)
    maps[0, 0, 2, 3], maps[0, 0, 2, 4], maps[0, 0, 5, 8] = 0.9, 0.8, 0.5
    keypoints, scores = heatmap_peaks(maps.to(device), 3, method="argmax")
    assert keypoints[0, 0].tolist() == [[3, 2], [8, 5], [-1, -1]]
    assert scores[0, 0].tolist() == pytest.approx([0.9, 0.5, 0])
    plateau = torch.zeros(1, 1, 4, 4)
    plateau[0, 0, 1, 1:3] = 1
    assert heatmap_peaks(plateau.to(device), 3, method="argmax")[0][0, 0].tolist() == [[1, 1], [2, 1], [-1, -1]]
    nan = torch.tensor([[math.nan, 1.0], [0.5, math.nan]]).reshape(1, 1, 2, 2)
    assert heatmap_peaks(nan.to(device), 2, method="argmax")[0][0, 0].tolist() == [[1, 0], [-1, -1]]


@pytest.mark.parametrize("method", METHODS)
def test_first_peak_is_the_decoded_one(method, device) -> None:
    maps = figure_maps((2, 6, 20, 24)).abs().to(device)
    expected, expected_scores = decode_heatmaps(maps, method)
    keypoints, scores = heatmap_peaks(maps, 4, method=method)
    assert torch.equal(keypoints[:, :, 0], expected) and torch.equal(scores[:, :, 0], expected_scores)
    assert (scores.diff(dim=-1) <= 0).all()


SPECIAL = st.sampled_from([0.0, 0.5, 1.0, -1.0, 1e-40, 3e38, math.inf, -math.inf, math.nan])


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    method=st.sampled_from(METHODS),
    count=st.integers(1, 9),
    threshold=st.sampled_from([0.0, 0.5, -2.0]),
)
def test_anything_at_all(data, method, count, threshold) -> None:
    n, k, h, w = (data.draw(st.integers(1, top)) for top in (2, 3, 6, 19))
    flat = data.draw(st.lists(SPECIAL, min_size=n * k * h * w, max_size=n * k * h * w))
    assert_like_reference(torch.tensor(flat).reshape(n, k, h, w), count, threshold, method)


@pytest.mark.parametrize(("n", "k"), [(0, 3), (2, 0)])
def test_empty(n, k, device) -> None:
    keypoints, scores = heatmap_peaks(torch.zeros(n, k, 4, 4, device=device), 3)
    assert keypoints.shape == (n, k, 3, 2) and scores.shape == (n, k, 3)


MAPS = torch.rand(1, 2, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((None, 1), {}, TypeError, "heatmap_peaks: heatmaps must be a torch.Tensor"),
        ((MAPS[0], 1), {}, ValueError, "heatmaps must have 4 dimensions"),
        ((MAPS, 0), {}, ValueError, "count must be at least 1, got 0"),
        ((MAPS, 1.0), {}, TypeError, "count must be an int, got float"),
        ((MAPS, 1), {"threshold": math.nan}, ValueError, "threshold must be finite, got nan"),
        ((MAPS, 1), {"threshold": None}, TypeError, "threshold must be a number, got None"),
        ((MAPS, 1), {"method": "dark"}, ValueError, "method must be one of 'argmax', 'quarter', 'newell'; got 'dark'"),
    ],
)
def test_bad_input(arguments, options, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        heatmap_peaks(*arguments, **options)
