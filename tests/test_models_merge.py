"""The merge module, and the fused networks in the modes that change dtypes or reuse memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hgfast.nn import UpsampleAdd
from tests.recipe import apply_recipe
from tests.small_models import FAMILIES, small_model


def small(family: str, implementation: str = "fused") -> nn.Module:
    return apply_recipe(small_model(family, implementation), 1)


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (9, 4)])
def test_merge_is_the_peers_expression(size: tuple[int, int], device: str) -> None:
    skip = torch.randn(2, 3, *size, device=device)
    low = torch.randn(2, 3, (size[0] + 1) // 2, (size[1] + 1) // 2, device=device)
    kept = skip.clone()
    expected = skip + F.interpolate(low, size=size)
    assert not UpsampleAdd().state_dict()
    assert torch.equal(UpsampleAdd()(skip, low), expected) and torch.equal(skip, kept)
    result = UpsampleAdd(inplace=True)(skip, low)
    assert torch.equal(result, expected) and result.data_ptr() == skip.data_ptr()


@pytest.mark.parametrize("needs_gradient", ["skip", "low"])
def test_in_place_merge_keeps_skip_where_a_gradient_is_asked_for(needs_gradient: str) -> None:
    tensors = {"skip": torch.randn(1, 2, 4, 4), "low": torch.randn(1, 2, 2, 2)}
    tensors[needs_gradient].requires_grad_()
    kept = tensors["skip"].detach().clone()
    merge = UpsampleAdd(inplace=True)
    merge(**tensors).sum().backward()
    expected = torch.full_like(tensors[needs_gradient], 1.0 if needs_gradient == "skip" else 4.0)
    assert torch.equal(tensors["skip"].detach(), kept) and torch.equal(tensors[needs_gradient].grad, expected)
    with torch.no_grad():
        assert merge(**tensors).data_ptr() == tensors["skip"].data_ptr()


@pytest.mark.parametrize("family", FAMILIES)
def test_modes_without_gradient_agree(family: str, device: str) -> None:
    """Merging in place changes neither the result nor the images."""
    model = small(family).to(device).eval()
    images = torch.rand(2, 3, 64, 64, device=device).contiguous(memory_format=torch.channels_last)
    kept = images.clone()
    expected = [heatmap.detach() for heatmap in model(images)]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            for heatmap, other in zip(model(images), expected, strict=True):
                torch.testing.assert_close(heatmap, other, rtol=1e-5, atol=1e-5)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("family", FAMILIES)
def test_autocast_error_is_that_of_plain_pytorch(family: str, device: str) -> None:
    images = torch.rand(2, 3, 64, 64, device=device)
    exact = small(family, "reference").to(device).double().eval()(images.double())[-1]
    errors = {}
    for implementation in ("reference", "fused"):
        model = small(family, implementation).to(device).eval()
        with torch.autocast(device, dtype=torch.bfloat16), torch.no_grad():
            errors[implementation] = float((model(images)[-1] - exact).norm() / exact.norm())
    assert 0 < errors["fused"] <= 2 * errors["reference"] < 0.2


@pytest.mark.parametrize("family", FAMILIES)
def test_training_under_autocast(family: str, device: str) -> None:
    model = small(family).to(device)
    with torch.autocast(device, dtype=torch.bfloat16):
        heatmaps = model(torch.rand(2, 3, 64, 128, device=device))
    sum(heatmap.float().square().mean() for heatmap in heatmaps).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in trained)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_models(family: str, dtype: torch.dtype, device: str) -> None:
    model = small(family).to(device, dtype).eval()
    with torch.no_grad():
        heatmaps = model(torch.rand(1, 3, 64, 64, device=device, dtype=dtype))
    assert all(heatmap.dtype == dtype and heatmap.isfinite().all() for heatmap in heatmaps)


@pytest.mark.parametrize("family", FAMILIES)
def test_empty_batch(family: str, device: str) -> None:
    heatmaps = small(family).to(device).eval()(torch.rand(0, 3, 64, 64, device=device))
    assert [tuple(heatmap.shape) for heatmap in heatmaps] == [(0, 5, 16, 16)] * 2


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_are_known_without_computing(family: str) -> None:
    heatmaps = small(family).to("meta").eval()(torch.empty(2, 3, 128, 64, device="meta"))
    assert [tuple(heatmap.shape) for heatmap in heatmaps] == [(2, 5, 32, 16)] * 2
