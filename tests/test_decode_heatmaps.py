"""decode_heatmaps against the float64 reference on ordinary and awkward maps, and its checks."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hgfast import reference
from hgfast.ops import decode_heatmaps
from hgfast.ops._registry import explain
from tests.heatmap_samples import any_maps, awkward_maps, figure_maps

METHODS = ["argmax", "quarter", "dark", "dark_udp", "newell"]
EXACT = ["argmax", "quarter", "newell"]
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
FORMATS = [torch.contiguous_format, torch.channels_last]
# (N, K, H, W): packs and tails, one row, one column, one pixel, more channels than a pack
SHAPES = [(2, 16, 16, 16), (1, 17, 11, 13), (2, 4, 24, 20), (3, 5, 1, 9), (1, 3, 7, 1), (2, 9, 1, 1)]


def assert_decodes_like_reference(maps: torch.Tensor, method: str, size: int, keypoints, scores) -> None:
    """Exact methods bit for bit; a logarithm's step as far as float32 values decide it."""
    expected, expected_scores = reference.decode_heatmaps(maps.double(), method, size)
    torch.testing.assert_close(scores.double(), expected_scores, rtol=0, atol=0, equal_nan=True)
    if method in EXACT:
        torch.testing.assert_close(keypoints.double(), expected, rtol=0, atol=0)
        return
    generator = torch.Generator().manual_seed(0)
    spread = torch.zeros(maps.shape[:2], dtype=torch.float64)
    for _ in range(4):
        noise = 1 + 1e-6 * torch.randn(maps.shape, generator=generator, dtype=torch.float64)
        moved, _ = reference.decode_heatmaps(maps.double() * noise, method, size)
        spread = torch.maximum(spread, (moved - expected).abs().amax(-1))
    error = (keypoints.double() - expected).abs().amax(-1)
    # two neighbours of the blur, summed in float32, must not overflow; what does is finite, but decides nothing
    finite = torch.where(maps.isfinite(), maps.double().abs(), 0.0)
    decided = (spread < 0.05) & (finite.amax((-2, -1)) < torch.finfo(torch.float32).max / 2)
    assert (error <= (20 * spread).clamp(min=1e-3))[decided].all(), (error, spread)
    assert keypoints.isfinite().all()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", METHODS)
def test_all_layouts_and_dtypes(method, shape, dtype, memory_format, device) -> None:
    maps = figure_maps(shape).to(dtype).contiguous(memory_format=memory_format)
    keypoints, scores = decode_heatmaps(maps.to(device), method, 7)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert keypoints.dtype == scores.dtype == wide
    assert_decodes_like_reference(maps.to(wide).contiguous(), method, 7, keypoints.cpu(), scores.cpu())


@pytest.mark.parametrize("method", METHODS)
def test_views_of_larger_tensors(method, device) -> None:
    large = figure_maps((3, 6, 20, 18)).to(device)
    for view in (large[1:, ::2], large[:, 1:4, 2:15, 3:], large.transpose(2, 3), large[:, :, ::2, 1::2]):
        expected = decode_heatmaps(view.contiguous(), method)
        for ours, theirs in zip(decode_heatmaps(view, method), expected, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("size", [1, 3, 5, 9, 11, 17, 31, 63, 65])
@pytest.mark.parametrize("method", ["dark", "dark_udp"])
def test_blur_kernel_sizes(method, size, device) -> None:
    maps = figure_maps((1, 6, 24, 20))
    keypoints, scores = decode_heatmaps(maps.to(device), method, size)
    assert_decodes_like_reference(maps, method, size, keypoints.cpu(), scores.cpu())
    way = explain("decode_heatmaps", maps.to(device), None, [], False, None, method, size)
    assert way == f"kernel: {device}" if size <= 63 else way.startswith("reference: blur_kernel_size")


@pytest.mark.parametrize("method", ["dark", "dark_udp"])
def test_wide_blur_of_a_pack_of_maps(method, device) -> None:
    """Where CUDA's blocks of channels_last maps have not the memory for as many blurs as warps."""
    for scale in (1.0, 0.004):  # with the smaller one UDP's clip range needs the whole blurred map's maximum
        maps = (figure_maps((1, 16, 24, 20)) * scale).half().contiguous(memory_format=torch.channels_last)
        keypoints, scores = decode_heatmaps(maps.to(device), method, 31)
        assert_decodes_like_reference(maps.float().contiguous(), method, 31, keypoints.cpu(), scores.cpu())


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("method", METHODS)
def test_awkward_maps(method, memory_format, device) -> None:
    """Ties, plateaus, denormals, huge values, infinities, NaN: finite and each from its own map alone."""
    maps = torch.stack(list(awkward_maps().values()))[None].contiguous(memory_format=memory_format)
    keypoints, scores = decode_heatmaps(maps.to(device), method)
    assert_decodes_like_reference(maps, method, 11, keypoints.cpu(), scores.cpu())
    for channel in range(maps.shape[1]):
        alone, _ = decode_heatmaps(maps[:, channel : channel + 1].contiguous().to(device), method)
        torch.testing.assert_close(alone[0, 0], keypoints[0, channel], rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_documented_outcomes(method, device) -> None:
    cases = awkward_maps()
    names = list(cases)
    keypoints, scores = (
        out[0].cpu() for out in decode_heatmaps(torch.stack(list(cases.values()))[None].to(device), method)
    )
    nothing = keypoints[names.index("all NaN")], scores[names.index("all NaN")]
    assert nothing[0].tolist() == [-1, -1] and nothing[1].isnan()
    assert scores[names.index("infinite peak")] == math.inf
    near = keypoints[names.index("infinite peak")] - torch.tensor([6.0, 5.0])
    assert near.abs().max() <= 0.75
    if method != "newell":
        for name in ("zero", "negative", "minus infinity"):
            assert keypoints[names.index(name)].tolist() == [-1, -1]
            assert scores[names.index(name)] == cases[name].max()
    else:
        assert scores[names.index("negative")] == 0 and keypoints[names.index("zero")].tolist() == [0, 0]


@settings(deadline=None, max_examples=60)
@given(maps=any_maps(), method=st.sampled_from(METHODS), size=st.sampled_from([3, 5, 11]))
def test_anything_at_all(maps, method, size) -> None:
    assert_decodes_like_reference(maps, method, size, *decode_heatmaps(maps, method, size))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), h=st.integers(1, 40), w=st.integers(1, 40), method=st.sampled_from(METHODS))
def test_random_sizes(seed, h, w, method) -> None:
    maps = figure_maps((2, 3, h, w), seed=seed)
    assert_decodes_like_reference(maps, method, 11, *decode_heatmaps(maps, method))


def test_rescaling_matters_only_where_it_is_computed(device) -> None:
    """The kernels compute old / new maximum only where the clip range may act; they must agree all around it."""
    generator = torch.Generator().manual_seed(1)
    for scale in (1e-12, 1e-10, 3e-10, 1e-9, 1e-3, 3e-3, 1e-2, 40.0, 50.0, 60.0, 1e4):
        maps = figure_maps((1, 8, 20, 20), noise=0.0) * scale
        maps -= scale * 0.02 * torch.rand(maps.shape, generator=generator)
        for method in ("dark", "dark_udp"):
            keypoints, scores = decode_heatmaps(maps.to(device), method)
            assert_decodes_like_reference(maps, method, 11, keypoints.cpu(), scores.cpu())


@pytest.mark.parametrize(("n", "k"), [(0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize("method", METHODS)
def test_empty(method, n, k, device) -> None:
    keypoints, scores = decode_heatmaps(torch.zeros(n, k, 8, 8, device=device), method)
    assert keypoints.shape == (n, k, 2) and scores.shape == (n, k)


def test_threads_give_the_same(device) -> None:
    maps = figure_maps((8, 16, 32, 32)).to(device)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(decode_heatmaps(maps, "dark")[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_no_gradient_flows(device) -> None:
    maps = torch.rand(1, 2, 5, 5, device=device, requires_grad=True)
    assert not any(out.requires_grad for out in decode_heatmaps(maps))


MAPS = torch.rand(1, 2, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0],), TypeError, "decode_heatmaps: heatmaps must be a torch.Tensor, got list"),
        ((MAPS.int(),), TypeError, "heatmaps must have one of the dtypes"),
        ((MAPS[0],), ValueError, "heatmaps must have 4 dimensions, got 3 (shape (2, 4, 4))"),
        ((MAPS[:, :, :0],), ValueError, "heatmaps must have at least one pixel a map, got shape (1, 2, 0, 4)"),
        ((MAPS, "megvii"), ValueError, "method must be one of 'argmax', 'quarter'"),
        ((MAPS, "dark", 10), ValueError, "blur_kernel_size must be odd and positive, got 10"),
        ((MAPS, "dark", -1), ValueError, "blur_kernel_size must be odd and positive, got -1"),
        ((MAPS, "dark", 11.0), TypeError, "blur_kernel_size must be an int, got float"),
    ],
)
def test_bad_input(arguments, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        decode_heatmaps(*arguments)
