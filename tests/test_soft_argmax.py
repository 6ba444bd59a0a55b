"""decode_heatmaps(method="soft"): forward and gradient against the float64 reference and autograd."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hgfast import reference
from hgfast.ops import decode_heatmaps
from tests.heatmap_samples import any_maps, awkward_maps, figure_maps

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
FORMATS = [torch.contiguous_format, torch.channels_last]
SHAPES = [(2, 8, 16, 16), (1, 17, 11, 13), (2, 3, 5, 40), (3, 5, 1, 9), (1, 3, 7, 1), (2, 9, 1, 1)]
SETTINGS = [(1.0, None), (0.05, None), (0.2, 3), (3.0, 0)]


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("temperature", "window"), SETTINGS)
def test_forward_and_gradient(shape, dtype, memory_format, temperature, window, device) -> None:
    maps = figure_maps(shape).to(dtype).contiguous(memory_format=memory_format).to(device).requires_grad_()
    keypoints, scores = decode_heatmaps(maps, "soft", temperature=temperature, window=window)
    radius = -1 if window is None else window
    expected = reference.soft_argmax(maps.detach().cpu().double(), temperature, radius)
    accuracy = 1e-12 if dtype == torch.float64 else 2e-6 * max(shape[2:])
    torch.testing.assert_close(keypoints.detach().cpu().double(), expected[0], rtol=0, atol=accuracy)
    assert torch.equal(scores.detach().cpu().double(), expected[1])

    grads = torch.randn(keypoints.shape), torch.randn(scores.shape)
    outgoing = [grad.to(keypoints.dtype).to(device) for grad in grads]
    (ours,) = torch.autograd.grad((keypoints, scores), maps, outgoing)
    theirs = reference.soft_argmax_backward(
        maps.detach().cpu().double(), *expected, *(grad.double() for grad in grads), temperature, radius
    )
    rounding = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.cpu().double(), theirs, rtol=rounding, atol=rounding * float(theirs.abs().max()))


@pytest.mark.parametrize(("temperature", "window"), SETTINGS)
def test_gradcheck(temperature, window) -> None:
    maps = figure_maps((2, 2, 4, 5)).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: decode_heatmaps(x, "soft", temperature=temperature, window=window), (maps,)
    )


def test_second_derivative_is_refused(device) -> None:
    maps = figure_maps((1, 1, 4, 5)).to(device).requires_grad_()
    keypoints, _ = decode_heatmaps(maps, "soft")
    (grad,) = torch.autograd.grad(keypoints.sum(), maps, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        grad.sum().backward()


def test_sharp_temperature_is_argmax(device) -> None:
    maps = figure_maps((2, 5, 20, 24)).to(device)
    hard, _ = decode_heatmaps(maps.abs(), "argmax")
    soft, _ = decode_heatmaps(maps.abs(), "soft", temperature=1e-6)
    torch.testing.assert_close(soft, hard, rtol=0, atol=1e-3)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("window", [None, 2])
def test_awkward_maps(window, memory_format, device) -> None:
    """Finite for everything but nothing-but-NaN, which gives (-1, -1), score NaN and no gradient."""
    names = list(awkward_maps())
    maps = torch.stack(list(awkward_maps().values()))[None].contiguous(memory_format=memory_format)
    maps = maps.to(device).requires_grad_()
    keypoints, scores = decode_heatmaps(maps, "soft", window=window)
    expected = reference.soft_argmax(maps.detach().cpu().double(), 1.0, -1 if window is None else window)
    torch.testing.assert_close(keypoints.detach().cpu().double(), expected[0], rtol=0, atol=1e-4)
    assert keypoints.isfinite().all()
    nothing = names.index("all NaN")
    assert keypoints[0, nothing].tolist() == [-1, -1] and scores[0, nothing].isnan()
    keypoints.sum().backward()
    assert maps.grad.isfinite().all() and not maps.grad[0, nothing].any()


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    scale=st.sampled_from([1e-40, 1e-3, 1.0, 30.0, 1e38]),
    window=st.sampled_from([None, 0, 1, 7]),
)
def test_random_sizes(seed, size, scale, window) -> None:
    maps = figure_maps((1, 2, *size), seed=seed) * scale
    keypoints, _ = decode_heatmaps(maps, "soft", window=window)
    expected, _, _ = reference.soft_argmax(maps.double(), 1.0, -1 if window is None else window)
    # a value's rounding moves its weight's logarithm by as much as the values are large
    torch.testing.assert_close(keypoints.double(), expected, rtol=0, atol=1e-5 * max(size) * max(1.0, min(scale, 30.0)))


@settings(deadline=None, max_examples=60)
@given(maps=any_maps(), temperature=st.sampled_from([1e-3, 0.05, 1.0, 100.0]), window=st.sampled_from([None, 0, 2]))
def test_anything_at_all(maps, temperature, window) -> None:
    """Finite, and the reference's but for a value's rounding, which is a share of the weights' exponents."""
    keypoints, scores = decode_heatmaps(maps.requires_grad_(), "soft", temperature=temperature, window=window)
    expected, same, _ = reference.soft_argmax(maps.detach().double(), temperature, -1 if window is None else window)
    torch.testing.assert_close(scores.double(), same, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(
        keypoints.double(), expected, rtol=0, atol=2e-5 * max(maps.shape) * max(1, 0.1 / temperature)
    )
    assert keypoints.isfinite().all()
    keypoints.sum().backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize(("n", "k"), [(0, 3), (2, 0)])
def test_empty(n, k, device) -> None:
    maps = torch.zeros(n, k, 4, 4, device=device, requires_grad=True)
    keypoints, scores = decode_heatmaps(maps, "soft")
    assert keypoints.shape == (n, k, 2) and scores.shape == (n, k)
    keypoints.sum().backward()
    assert maps.grad.shape == maps.shape


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0.0}, ValueError, "decode_heatmaps: temperature must be greater than 0, got 0.0"),
        ({"temperature": float("nan")}, ValueError, "temperature must be finite, got nan"),
        ({"temperature": "1"}, TypeError, "temperature must be a number, got str '1'"),
        ({"window": -1}, ValueError, "window must be at least 0, got -1"),
        ({"window": 1.5}, TypeError, "window must be an int, got float 1.5"),
    ],
)
def test_bad_input(options, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        decode_heatmaps(torch.rand(1, 1, 4, 4), "soft", **options)
