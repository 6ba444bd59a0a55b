"""flip_merge and decode_flip: MMPose's and princeton-vl's golden runs, and the parts they are made of."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hgfast import reference
from hgfast.codecs import affine as affine_maps
from hgfast.ops import decode_flip, decode_heatmaps, flip_merge
from tests.heatmap_samples import any_maps, figure_maps

DATA = Path(__file__).parent / "data"
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
FORMATS = [torch.contiguous_format, torch.channels_last]
METHODS = ["argmax", "quarter", "dark", "dark_udp", "newell"]
SHAPES = [(2, 4, 8, 64), (2, 8, 6, 40), (2, 5, 15, 31), (3, 2, 4, 2), (1, 3, 3, 1)]


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("case", [0, 1])
def test_mmpose_vectors(case, shift, device) -> None:
    with np.load(DATA / "mmpose_flip.npz") as data:
        maps, flipped = (torch.from_numpy(data[f"{name}{case}"]).to(device) for name in ("hm", "hmflip"))
        mirrored, average = (data[f"{name}{case}_shift{int(shift)}"] for name in ("flipped", "avg"))
        indices = data["flip_indices"]
    np.testing.assert_array_equal(flip_merge(maps, flipped, indices, shift).cpu(), average)
    alone = flip_merge(torch.zeros_like(maps), flipped, indices, shift)
    np.testing.assert_array_equal(2 * alone.cpu(), mirrored)


def test_princeton_inference(device) -> None:
    """Average without shift, capped at 1, parsed, mapped to the picture; the peer truncates to whole pixels."""
    with np.load(DATA / "princeton_decode.npz") as data:
        golden = dict(data)
    maps, flipped = (torch.from_numpy(golden[name])[None].to(device) for name in ("inf_hm", "inf_hm_flipped"))
    pairs = np.load(DATA / "mmpose_flip.npz")["flip_indices"].tolist()
    merged = flip_merge(maps, flipped, pairs, shift=False).clamp(max=1)[0, [0, 5, 9, 15]]
    np.testing.assert_array_equal(merged.cpu(), golden["inf_avg_4ch"])
    to_crop = torch.tensor([[4.0, 0, 0], [0, 4, 0]], device=device)
    keypoints, scores = decode_flip(maps, flipped, pairs, "newell", inverse_affine=to_crop)
    np.testing.assert_array_equal(keypoints[0].cpu(), golden["inf_pred_cropped"][:, :2])
    np.testing.assert_array_equal(scores[0].cpu(), golden["inf_pred"][:, 2])
    size = 200 * golden["inf_scale_f64"][0]
    crop = affine_maps.warp_matrix(golden["inf_center_f64"], (size, size), 0, (256, 256))
    to_picture = torch.from_numpy(affine_maps.invert(crop)).to(device)
    to_picture = torch.cat((to_picture[:, :2] * 4, to_picture[:, 2:]), 1)
    keypoints, _ = decode_flip(maps, flipped, pairs, "newell", inverse_affine=to_picture)
    np.testing.assert_array_equal(keypoints[0].cpu().numpy().astype(int), golden["inf_pred"][:, :2])


def flip_inputs(shape, dtype, memory_format, device):
    maps = figure_maps(shape, seed=1).to(dtype).contiguous(memory_format=memory_format).to(device)
    flipped = figure_maps(shape, seed=2).to(dtype).contiguous(memory_format=memory_format).to(device)
    return maps, flipped, torch.randperm(shape[1], generator=torch.Generator().manual_seed(3)).tolist()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_merge_is_exact(shape, shift, dtype, memory_format, device) -> None:
    maps, flipped, pairs = flip_inputs(shape, dtype, memory_format, device)
    merged = flip_merge(maps, flipped, pairs, shift)
    assert merged.dtype == dtype and merged.stride() == maps.stride()
    assert torch.equal(merged, reference.flip_merge(maps, flipped, pairs, shift))
    mixed = flip_merge(maps, flipped.contiguous(), torch.tensor(pairs), shift)
    assert torch.equal(mixed, merged)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", METHODS)
def test_fused_equals_its_parts(method, shape, shift, dtype, memory_format, device) -> None:
    maps, flipped, pairs = flip_inputs(shape, dtype, memory_format, device)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    merged = flip_merge(maps.to(wide), flipped.to(wide), pairs, shift)
    merged = merged.clamp(max=1) if method == "newell" else merged
    expected, expected_scores = decode_heatmaps(merged, method)
    keypoints, scores = decode_flip(maps, flipped, pairs, method, shift)
    assert torch.equal(scores, expected_scores)
    torch.testing.assert_close(keypoints, expected, rtol=0, atol=1e-3 if "dark" in method else 0)


@settings(deadline=None, max_examples=60)
@given(maps=any_maps(), shift=st.booleans(), method=st.sampled_from(METHODS), data=st.data())
def test_anything_at_all(maps, shift, method, data) -> None:
    """Averages of ties, denormals, huge values, infinities and NaN decode as the averaged map does."""
    pairs = data.draw(st.permutations(range(maps.shape[1])))
    flipped = maps.flip(0).roll(1, -1)
    merged = flip_merge(maps, flipped, pairs, shift)
    torch.testing.assert_close(
        merged, reference.flip_merge(maps, flipped, pairs, shift), rtol=0, atol=0, equal_nan=True
    )
    expected, expected_scores = decode_heatmaps(merged.clamp(max=1) if method == "newell" else merged, method)
    keypoints, scores = decode_flip(maps, flipped, pairs, method, shift)
    torch.testing.assert_close(scores, expected_scores, rtol=0, atol=0, equal_nan=True)
    assert keypoints.isfinite().all()
    if "dark" not in method:
        assert torch.equal(keypoints, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [None, 1, 2])
def test_affine(count, dtype, device) -> None:
    maps, flipped, pairs = flip_inputs((2, 4, 16, 16), torch.float32, torch.contiguous_format, device)
    matrix = torch.randn((2, 3) if count is None else (count, 2, 3), dtype=torch.float64) * 10
    plain, scores = (out.cpu() for out in decode_flip(maps, flipped, pairs, "dark"))
    keypoints, same = decode_flip(maps, flipped, pairs, "dark", inverse_affine=matrix.to(dtype).to(device))
    linear, offset = matrix.reshape(-1, 1, 2, 3)[..., :2], matrix.reshape(-1, 1, 2, 3)[..., 2]
    expected = (linear @ plain.double()[..., None])[..., 0] + offset
    torch.testing.assert_close(keypoints.cpu().double(), expected, rtol=1e-6, atol=1e-4)
    assert torch.equal(same.cpu(), scores)


def test_soft_equals_its_parts(device) -> None:
    maps, flipped, pairs = flip_inputs((2, 4, 16, 16), torch.float32, torch.contiguous_format, device)
    maps, flipped = maps.requires_grad_(), flipped.requires_grad_()
    matrix = torch.tensor([[4.0, 1, 2], [0, 3, -5]], device=device)
    keypoints, scores = decode_flip(maps, flipped, pairs, "soft", inverse_affine=matrix, temperature=0.1, window=3)
    merged = flip_merge(maps, flipped, pairs)
    plain, same = decode_heatmaps(merged, "soft", temperature=0.1, window=3)
    torch.testing.assert_close(keypoints, plain @ matrix[:, :2].T + matrix[:, 2])
    assert torch.equal(scores, same)
    keypoints.sum().backward()
    assert maps.grad.any() and flipped.grad.any()


def test_default_shift_is_the_peers(device) -> None:
    maps, flipped, pairs = flip_inputs((2, 6, 16, 16), torch.float32, torch.contiguous_format, device)
    for method in METHODS:
        expected = decode_flip(maps, flipped, pairs, method, method not in ("dark_udp", "newell"))
        assert torch.equal(decode_flip(maps, flipped, pairs, method)[0], expected[0])


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_gradient(width, shift) -> None:
    maps, flipped = (torch.randn(2, 3, 2, width, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: flip_merge(a, b, [1, 0, 2], shift), (maps, flipped))


@pytest.mark.parametrize(("n", "k"), [(0, 3), (2, 0)])
def test_empty(n, k, device) -> None:
    maps = torch.zeros(n, k, 4, 4, device=device)
    assert flip_merge(maps, maps, list(range(k))).shape == maps.shape
    keypoints, scores = decode_flip(maps, maps, list(range(k)), "dark")
    assert keypoints.shape == (n, k, 2) and scores.shape == (n, k)


A, B = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((A, None, [0, 1, 2]), TypeError, "decode_flip: flipped must be a torch.Tensor"),
        ((A, B.half(), [0, 1, 2]), TypeError, "flipped must have heatmaps's dtype"),
        ((A, B[:1], [0, 1, 2]), ValueError, "flipped must have shape (2, 3, 4, 4)"),
        ((A, B, [0, 1]), ValueError, "flip_indices must be 3 channel numbers in [0, 3), got [0, 1]"),
        ((A, B, [0, 1, 3]), ValueError, "flip_indices must be 3 channel numbers"),
        ((A, B, [0, 1, -1]), ValueError, "flip_indices must be 3 channel numbers"),
        ((A, B, [0.0, 1.0, 2.0]), TypeError, "flip_indices[0] must be an int, got float 0.0"),
        ((A, B, [0, 1, 2], "nothing"), ValueError, "method must be one of"),
        (
            (A, B, [0, 1, 2], "dark", True, torch.eye(3)),
            ValueError,
            "inverse_affine must have shape (2, 3) or (2, 2, 3)",
        ),
        ((A, B, [0, 1, 2], "dark", True, [[1, 0, 0]]), TypeError, "inverse_affine must be a torch.Tensor"),
        ((A, B, [0, 1, 2], "dark", True, None, 4), ValueError, "blur_kernel_size must be odd"),
    ],
)
def test_bad_input(arguments, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        decode_flip(*arguments)
