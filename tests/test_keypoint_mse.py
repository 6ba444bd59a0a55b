"""keypoint_mse and keypoint_mse_from_points: loss and gradient against the float64 expression."""

from __future__ import annotations

import re

import pytest
import torch

from hgfast import reference
from hgfast.ops import gaussian_heatmaps, keypoint_mse, keypoint_mse_from_points
from tests.test_gaussian_heatmaps import random_points
from tests.tolerances import assert_close, relative_error

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
SHAPES = [(2, 16, 8, 12), (1, 17, 5, 7), (3, 1, 1, 1), (2, 3, 33, 16), (1, 40, 4, 3)]
FORMATS = [torch.channels_last, torch.contiguous_format]


def make(shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format, device: str):
    generator = torch.Generator().manual_seed(1)
    pred = torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=memory_format).to(device)
    target = torch.rand(shape, generator=generator).to(device)
    return pred.requires_grad_(), target, torch.rand(shape[:2], generator=generator).to(device)


def expected_of(pred, target, weight):
    wide = pred.detach().double().requires_grad_()
    loss = reference.keypoint_mse(wide, target.double(), None if weight is None else weight.double())
    (grad,) = torch.autograd.grad(loss, wide)
    return loss.detach(), grad


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [True, False])
def test_given_target(shape, dtype, memory_format, weighted, device) -> None:
    pred, target, weight = make(shape, dtype, memory_format, device)
    weight = weight if weighted else None
    loss = keypoint_mse(pred, target, weight)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected, expected_grad = expected_of(pred, target, weight)
    assert_close("keypoint_mse", loss.detach(), expected)
    loss.backward()
    assert pred.grad.stride() == pred.stride()
    assert_close("keypoint_mse", pred.grad, expected_grad, expected_grad.to(dtype))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["msra", "unbiased", "udp", "newell"])
def test_made_target(kind, dtype, memory_format, device) -> None:
    for shape in SHAPES:
        n, k, h, w = shape
        pred = make(shape, dtype, memory_format, device)[0]
        keypoints, visible = (tensor.to(device) for tensor in random_points(n, k, w, h))
        target, weight = gaussian_heatmaps(keypoints, visible, (w, h), 2.0, kind)
        loss = keypoint_mse_from_points(pred, keypoints, visible, 2.0, kind)
        expected, expected_grad = expected_of(pred, target, weight)
        bound = 1e-5 if dtype != torch.float64 else 1e-6  # the target itself is rounded to float32 above
        assert relative_error(loss.detach(), expected) <= bound
        loss.backward()
        if dtype in (torch.float32, torch.float64):
            assert relative_error(pred.grad, expected_grad) <= bound
        else:
            assert_close("keypoint_mse", pred.grad, expected_grad, expected_grad.to(dtype))


def test_gradcheck() -> None:
    pred, target, weight = make((2, 3, 4, 5), torch.float64, torch.channels_last, "cpu")
    assert torch.autograd.gradcheck(lambda p: keypoint_mse(p, target, weight), pred)


def test_stacks_are_added_up_and_scaled_gradients_arrive(device) -> None:
    a, target, weight = make((2, 4, 6, 6), torch.float32, torch.channels_last, device)
    b = make((2, 4, 6, 6), torch.float32, torch.contiguous_format, device)[0].detach().mul(2).requires_grad_()
    loss = keypoint_mse([a, b], target, weight)
    single = [keypoint_mse(stack, target, weight) for stack in (a, b)]
    torch.testing.assert_close(loss, single[0] + single[1])
    grads = torch.autograd.grad(loss * 3, (a, b), retain_graph=True)
    again = torch.autograd.grad(loss, (a, b), retain_graph=True)
    twice = torch.autograd.grad(loss, (a, b))
    for stack, scaled, once, second in zip((a, b), grads, again, twice, strict=True):
        expected = expected_of(stack, target, weight)[1].float()
        torch.testing.assert_close(scaled, 3 * expected)
        torch.testing.assert_close(once, expected)
        torch.testing.assert_close(second, expected)


def test_no_gradient_where_none_is_wanted(device) -> None:
    pred, target, weight = make((2, 4, 6, 6), torch.float32, torch.channels_last, device)
    with torch.no_grad():
        assert not keypoint_mse(pred, target, weight).requires_grad
    assert not keypoint_mse(pred.detach(), target.requires_grad_(), weight).requires_grad


def test_loss_does_not_depend_on_threads() -> None:
    pred, target, weight = make((4, 16, 33, 16), torch.float32, torch.channels_last, "cpu")
    before = torch.get_num_threads()
    losses = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        losses.append((keypoint_mse(pred, target, weight).item(), keypoint_mse(pred.contiguous(), target).item()))
    torch.set_num_threads(before)
    assert losses[0] == losses[1] == losses[2]


def test_empty_batch_is_nan_as_in_torch(device) -> None:
    pred = torch.zeros(0, 3, 4, 4, device=device)
    assert torch.isnan(keypoint_mse(pred, pred, torch.zeros(0, 3, device=device)))


def test_non_contiguous_prediction(device) -> None:
    pred, target, weight = make((2, 4, 6, 12), torch.float32, torch.contiguous_format, device)
    loss = keypoint_mse(pred[..., ::2], target[..., ::2], weight)
    expected, _ = expected_of(pred[..., ::2], target[..., ::2], weight)
    assert_close("keypoint_mse", loss.detach(), expected)


PRED, WEIGHT, POINTS = torch.zeros(2, 3, 4, 4), torch.ones(2, 3), torch.zeros(2, 3, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: keypoint_mse([], PRED), ValueError, "pred must hold at least one stack"),
        (lambda: keypoint_mse(PRED[0], PRED), ValueError, "pred must have 4 dimensions"),
        (lambda: keypoint_mse([PRED, PRED[:1]], PRED), ValueError, "pred must have shape (2, 3, 4, 4)"),
        (lambda: keypoint_mse(PRED, PRED[:1]), ValueError, "target must have shape (2, 3, 4, 4)"),
        (lambda: keypoint_mse(PRED, PRED.to("meta")), ValueError, "target must be on pred's device"),
        (lambda: keypoint_mse(PRED.long(), PRED), TypeError, "pred must have one of the dtypes"),
        (lambda: keypoint_mse(PRED, PRED, WEIGHT[:, :2]), ValueError, "weight must have shape (2, 3)"),
        (lambda: keypoint_mse_from_points(PRED, POINTS[:1], WEIGHT[:1], 2.0), ValueError, "visible must have shape"),
        (
            lambda: keypoint_mse_from_points(PRED, POINTS, WEIGHT, -1.0),
            ValueError,
            "sigma must be greater than 0, got -1.0",
        ),
        (lambda: keypoint_mse_from_points(PRED, POINTS, WEIGHT, 1.0, "x"), ValueError, "kind must be one of"),
    ],
)
def test_bad_input(call, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
