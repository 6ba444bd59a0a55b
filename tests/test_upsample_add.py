"""upsample_add and its gradient against the float64 expression."""

from __future__ import annotations

import re

import pytest
import torch

from hgfast import reference
from hgfast.ops import upsample_add
from hgfast.ops._registry import explain
from tests.tolerances import assert_close

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
# (N, C, H, W): vector widths and tails, odd sizes, one row or column, empty batch
SHAPES = [(2, 16, 8, 6), (1, 24, 7, 5), (3, 17, 9, 1), (1, 3, 1, 1), (2, 5, 1, 8), (1, 40, 33, 16), (0, 8, 4, 4)]
FORMATS = [torch.channels_last, torch.contiguous_format]


def make(shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format, device: str, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    n, c, h, w = shape
    skip = torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=memory_format).to(device)
    low = torch.randn(n, c, (h + 1) // 2, (w + 1) // 2, generator=generator).to(dtype)
    return skip, low.contiguous(memory_format=memory_format).to(device)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward(shape, dtype, memory_format, device) -> None:
    skip, low = make(shape, dtype, memory_format, device)
    expected = reference.upsample_add(skip.double(), low.double())
    out = upsample_add(skip, low)
    assert out.stride() == skip.stride() and out.dtype == dtype
    assert_close("upsample_add", out, expected, reference.upsample_add(skip, low))
    target = torch.full_like(skip, float("nan"))
    assert upsample_add(skip, low, out=target) is target
    assert torch.equal(target, out)
    assert upsample_add(skip, low, out=skip) is skip
    assert torch.equal(skip, out)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient(shape, dtype, memory_format, device) -> None:
    skip, low = make(shape, dtype, memory_format, device)
    skip.requires_grad_(), low.requires_grad_()
    grad = torch.randn(shape).to(dtype).contiguous(memory_format=memory_format).to(device)
    upsample_add(skip, low).backward(grad)
    assert torch.equal(skip.grad, grad)
    size = low.shape[-2:]
    expected = reference.upsample_add_backward(grad.double(), *size)
    assert_close("upsample_add_backward", low.grad, expected, reference.upsample_add_backward(grad, *size))


def at_odd_address(tensor: torch.Tensor) -> torch.Tensor:
    """The same channels_last tensor, one element away from the start of its storage."""
    flat = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=tensor.device)[1:]
    n, c, h, w = tensor.shape
    return flat.view(n, h, w, c).permute(0, 3, 1, 2).copy_(tensor)


@pytest.mark.parametrize("misaligned", ["skip", "low", "out"])
def test_forward_at_misaligned_addresses(misaligned, device) -> None:
    skip, low = make((1, 16, 4, 4), torch.float32, torch.channels_last, device)
    tensors = {"skip": skip, "low": low, "out": torch.empty_like(skip)}
    tensors[misaligned] = at_odd_address(tensors[misaligned])
    upsample_add(tensors["skip"], tensors["low"], out=tensors["out"])
    assert torch.equal(tensors["out"], reference.upsample_add(skip, low))


def test_gradients_of_both_orders(device) -> None:
    dtype = torch.float64 if device == "cpu" else torch.float32
    if dtype == torch.float32:
        pytest.skip("gradcheck needs float64, which runs on the CPU")
    skip, low = make((2, 3, 5, 4), dtype, torch.channels_last, device)
    skip.requires_grad_(), low.requires_grad_()
    assert torch.autograd.gradcheck(upsample_add, (skip, low))
    assert torch.autograd.gradgradcheck(upsample_add, (skip, low))


def test_in_place_gradient_equals_functional(device) -> None:
    skip, low = make((2, 8, 6, 6), torch.float32, torch.channels_last, device)
    grads = []
    for in_place in (False, True):
        a, b = skip.clone().requires_grad_(), low.clone().requires_grad_()
        middle = a * 2  # does not need its own output for its gradient
        out = upsample_add(middle, b, out=middle if in_place else None)
        (out**2).sum().backward()
        grads.append((a.grad, b.grad))
    assert torch.equal(grads[0][0], grads[1][0]) and torch.equal(grads[0][1], grads[1][1])


def test_in_place_refuses_a_value_that_its_producer_saved(device) -> None:
    skip, low = make((2, 8, 6, 6), torch.float32, torch.channels_last, device)
    middle = skip.requires_grad_().sigmoid()
    out = upsample_add(middle, low, out=middle)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("low_size", [(2, 2), (5, 5), (1, 1), (4, 3)])
def test_other_sizes_take_the_reference(low_size, device) -> None:
    skip = torch.randn(2, 3, 5, 5, device=device, requires_grad=True)
    low = torch.randn(2, 3, *low_size, device=device, requires_grad=True)
    assert explain("upsample_add", skip, low).startswith("reference")
    out = upsample_add(skip, low)
    expected = skip + torch.nn.functional.interpolate(low, size=(5, 5))
    assert torch.equal(out, expected)
    ours = torch.autograd.grad(out.sin().sum(), (skip, low))
    theirs = torch.autograd.grad(expected.sin().sum(), (skip, low))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_non_contiguous_views(device) -> None:
    wide = torch.randn(2, 8, 6, 12, device=device)
    skip, low = wide[..., ::2], torch.randn(3, 3, 8, 2, device=device).permute(3, 2, 0, 1)
    assert torch.equal(upsample_add(skip, low), reference.upsample_add(skip, low))
    before = wide.clone()
    upsample_add(skip, low, out=skip)
    assert torch.equal(wide[..., ::2], reference.upsample_add(before[..., ::2], low))
    assert torch.equal(wide[..., 1::2], before[..., 1::2])


def test_extreme_values(device) -> None:
    skip = torch.tensor([65504.0, float("inf"), float("nan"), -0.0]).reshape(1, 4, 1, 1).to(device)
    low = torch.tensor([1.0, float("-inf"), 1.0, -0.0]).reshape(1, 4, 1, 1).to(device)
    for dtype in DTYPES[:3]:
        ours, theirs = upsample_add(skip.to(dtype), low.to(dtype)), skip.to(dtype) + low.to(dtype)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


def test_result_does_not_depend_on_threads() -> None:
    skip, low = make((4, 64, 33, 17), torch.float32, torch.channels_last, "cpu")
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append((upsample_add(skip, low), torch.ops.hgfast.upsample_add_backward(skip, 17, 9)))
    torch.set_num_threads(before)
    for forward, backward in results[1:]:
        assert torch.equal(forward, results[0][0]) and torch.equal(backward, results[0][1])


GOOD = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("skip", "low", "kwargs", "error", "message"),
    [
        ([1], GOOD, {}, TypeError, "skip must be a torch.Tensor, got list"),
        (GOOD, None, {}, TypeError, "low must be a torch.Tensor, got NoneType"),
        (GOOD[0], GOOD, {}, ValueError, "skip must have 4 dimensions, got 3"),
        (GOOD.int(), GOOD, {}, TypeError, "skip must have one of the dtypes"),
        (GOOD, GOOD.half(), {}, TypeError, "low must have skip's dtype torch.float32, got torch.float16"),
        (GOOD, GOOD.to("meta"), {}, ValueError, "low must be on skip's device cpu, got meta"),
        (GOOD, GOOD[:, :2], {}, ValueError, "low must start with skip's N, C = (2, 3), got shape (2, 2, 4, 4)"),
        (GOOD, GOOD[:, :, :0], {}, ValueError, "low must not be empty"),
        (GOOD, GOOD, {"out": GOOD[:1]}, ValueError, "out must have shape (2, 3, 4, 4)"),
        (GOOD.clone().requires_grad_(), GOOD, {"out": GOOD.clone()}, ValueError, "out must be skip itself"),
    ],
)
def test_bad_input(skip, low, kwargs, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        upsample_add(skip, low, **kwargs)


def test_out_that_overlaps_is_refused() -> None:
    """As by torch: what is read would have been written."""
    memory, low = torch.randn(512), torch.randn(1, 4, 4, 4)
    skip, shifted = memory[:256].view(1, 4, 8, 8), memory[8:264].view(1, 4, 8, 8)
    expanded = torch.zeros(1, 4, 1, 8).expand(1, 4, 8, 8)
    for out, small in ((shifted, low), (skip.clone(), None), (expanded, low)):
        small = out.flatten()[:64].view(1, 4, 4, 4) if small is None else small
        with pytest.raises(ValueError, match="out must not"):
            upsample_add(skip, small, out=out)
    with pytest.raises(ValueError, match="out must not"):
        upsample_add(expanded, low, out=expanded)
