"""One list of sample arguments for each registered op: tests/test_ops.py runs opcheck and torch.compile over them all.

An op's author adds a function here; an op without samples fails the test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tests.tolerances import HALF_TYPES

Make = Callable[[str], list[tuple[Any, ...]]]
SAMPLES: dict[str, Make] = {}


def samples(name: str, cast: Sequence[int] = ()) -> Callable[[Make], Make]:
    """Decorator: the function gives sample argument tuples of op `name` on a device.

    With `cast`, the first sample also comes in float16 and bfloat16: the arguments at these places are converted, the
    others (per-channel parameters, say) stay as they are.
    """

    def register(make: Make) -> Make:
        def with_half_types(device: str) -> list[tuple[Any, ...]]:
            found = make(device)
            return found + [_cast(found[0], cast, dtype) for dtype in HALF_TYPES if cast]

        SAMPLES[name] = with_half_types
        return make

    return register


def _cast(args: tuple[Any, ...], places: Sequence[int], dtype: torch.dtype) -> tuple[Any, ...]:
    def convert(x: torch.Tensor) -> torch.Tensor:
        return x.detach().to(dtype).requires_grad_(x.requires_grad)

    return tuple(convert(arg) if i in places and arg is not None else arg for i, arg in enumerate(args))


def _nhwc(*shape: int, device: str, grad: bool = False) -> torch.Tensor:
    x = torch.randn(*shape, device=device).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_(grad)


@samples("upsample_add", cast=(0, 1))
def _upsample_add(device: str) -> list[tuple[Any, ...]]:
    return [
        (_nhwc(2, 8, 6, 4, device=device, grad=True), _nhwc(2, 8, 3, 2, device=device, grad=True)),
        (torch.randn(1, 3, 5, 7, device=device), torch.randn(1, 3, 3, 4, device=device)),
    ]


@samples("upsample_add_backward", cast=(0,))
def _upsample_add_backward(device: str) -> list[tuple[Any, ...]]:
    return [
        (_nhwc(2, 8, 6, 4, device=device, grad=True), 3, 2),
        (torch.randn(1, 3, 5, 7, device=device), 3, 4),
    ]


@samples("upsample_add_out", cast=(0, 1, 2))
def _upsample_add_out(device: str) -> list[tuple[Any, ...]]:
    return [(_nhwc(2, 8, 6, 4, device=device), _nhwc(2, 8, 3, 2, device=device), _nhwc(2, 8, 6, 4, device=device))]


@samples("max_pool", cast=(0,))
def _max_pool(device: str) -> list[tuple[Any, ...]]:
    return [(_nhwc(2, 8, 6, 4, device=device, grad=True),), (torch.randn(1, 3, 5, 7, device=device),)]


@samples("max_pool_backward", cast=(0, 1, 2))
def _max_pool_backward(device: str) -> list[tuple[Any, ...]]:
    grad, x = _nhwc(2, 8, 3, 2, device=device, grad=True), _nhwc(2, 8, 7, 4, device=device)
    return [
        (grad, x, torch.randn_like(x)),
        (torch.randn(1, 3, 2, 3, device=device), torch.randn(1, 3, 5, 7, device=device), None),
    ]


def _points(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    keypoints = torch.tensor([[[3.2, 4.7], [0.0, 11.5], [-40.0, 2.0]], [[9.9, 0.4], [5.0, 5.0], [7.5, 3.5]]])
    return keypoints.to(device), torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, 0.49]]).to(device)


@samples("gaussian_heatmaps")
def _gaussian_heatmaps(device: str) -> list[tuple[Any, ...]]:
    kinds = [(kind, torch.float32) for kind in range(4)] + [(0, dtype) for dtype in HALF_TYPES]
    return [(*_points(device), 10, 12, 1.5, kind, dtype) for kind, dtype in kinds]


@samples("keypoint_mse", cast=(0,))
def _keypoint_mse(device: str) -> list[tuple[Any, ...]]:
    target, weight = torch.rand(2, 3, 6, 4, device=device), torch.rand(2, 3, device=device)
    return [
        (_nhwc(2, 3, 6, 4, device=device, grad=True), target, weight, True),
        (torch.randn(2, 3, 6, 4, device=device), target, None, False),
    ]


@samples("keypoint_mse_from_points", cast=(0,))
def _keypoint_mse_from_points(device: str) -> list[tuple[Any, ...]]:
    return [
        (_nhwc(2, 3, 12, 10, device=device, grad=True), *_points(device), 1.5, 0, True),
        (torch.randn(2, 3, 12, 10, device=device), *_points(device), 1.5, 2, False),
    ]


def _norm_inputs(device: str, shape: tuple[int, ...], grad: bool) -> tuple[torch.Tensor, ...]:
    """x, weight, bias, residual, mean, var."""
    x, residual = (_nhwc(*shape, device=device, grad=grad) for _ in range(2))
    weight, bias, mean, var = (torch.rand(shape[1], device=device) + 0.5 for _ in range(4))
    return x, weight.requires_grad_(grad), bias.requires_grad_(grad), residual, mean, var


@samples("batch_norm_stats", cast=(0,))
def _batch_norm_stats(device: str) -> list[tuple[Any, ...]]:
    running = torch.zeros(8, device=device), torch.ones(8, device=device)
    batches = torch.zeros((), dtype=torch.int64, device=device)
    return [
        (_nhwc(2, 8, 6, 4, device=device),),
        (torch.randn(1, 3, 5, 7, device=device),),
        (_nhwc(2, 8, 6, 4, device=device), *running, None, 0.1),
        (_nhwc(2, 8, 6, 4, device=device), *running, batches, None),
    ]


@samples("batch_norm_act_train", cast=(0, 3))
def _batch_norm_act_train(device: str) -> list[tuple[Any, ...]]:
    x, weight, bias, residual, _, _ = _norm_inputs(device, (2, 8, 6, 4), grad=True)
    return [
        (x, weight, bias, residual, True, 1e-5, True),
        (x, weight, bias, residual, True, 1e-5, False),
        (torch.randn(2, 3, 5, 7, device=device), None, None, None, True, 1e-5, True),
    ]


@samples("batch_norm_act_apply", cast=(0, 5))
def _batch_norm_act_apply(device: str) -> list[tuple[Any, ...]]:
    x, weight, bias, residual, mean, var = _norm_inputs(device, (2, 20, 3, 4), grad=True)
    return [
        (x, mean, var, weight, bias, residual, True, 1e-5, True),
        (x, mean, var, None, None, None, False, 1e-5, False),
    ]


def _gradient_samples(device: str, want_masked: bool | None) -> list[tuple[Any, ...]]:
    x, weight, bias, residual, mean, var = _norm_inputs(device, (2, 20, 3, 4), grad=False)
    grad, grad2 = torch.randn_like(x), torch.randn_like(x)
    mask = torch.ops.hgfast.batch_norm_act_train(x, weight, bias, residual, True, 1e-5, True)[3]
    last: tuple[Any, ...] = (weight, bias, grad2, 24.0, True) if want_masked is None else (want_masked,)
    return [
        (grad, None, x, None, mask, mean, var, weight, bias, 1e-5, 1, *last),
        (grad, grad2, x, residual, None, mean, var, weight, bias, 1e-5, 2, *last),
        (grad, None, x, None, None, mean, var, None, None, 1e-5, 0, *last),
    ]


@samples("batch_norm_backward_reduce", cast=(0, 1, 2, 3))
def _batch_norm_backward_reduce(device: str) -> list[tuple[Any, ...]]:
    return _gradient_samples(device, True) + _gradient_samples(device, False)


@samples("batch_norm_backward_apply", cast=(0, 1, 2, 3, 13))
def _batch_norm_backward_apply(device: str) -> list[tuple[Any, ...]]:
    return _gradient_samples(device, None)


@samples("decode_heatmaps", cast=(0, 1))
def _decode_heatmaps(device: str) -> list[tuple[Any, ...]]:
    maps, flipped = torch.rand(2, 3, 9, 7, device=device), _nhwc(2, 3, 9, 7, device=device)
    affine = torch.rand(2, 2, 3, device=device)
    return [
        (maps, None, [], False, None, "quarter", 11),
        (maps, flipped, [1, 0, 2], True, affine, "dark", 11),
        (flipped, maps, [0, 2, 1], False, affine[:1].double(), "newell", 11),
    ]


@samples("conv_bias_act", cast=(0, 1, 2, 4, 6))
def _conv_bias_act(device: str) -> list[tuple[Any, ...]]:
    x, weight = _nhwc(2, 8, 6, 4, device=device, grad=True), torch.randn(16, 8, 3, 3, device=device) / 9
    residual, skip = _nhwc(2, 16, 3, 2, device=device), _nhwc(2, 16, 6, 4, device=device, grad=True)
    return [
        (x, weight.requires_grad_(), torch.randn(16, device=device), 2, residual, True, skip),
        (torch.randn(1, 8, 5, 3, device=device), weight.detach(), None, 1, None, False, None),
    ]


@samples("bottleneck")
def _bottleneck(device: str) -> list[tuple[Any, ...]]:
    """float32 on the CPU and torch's operators; the kernel's tiles in half types: 8x16 and 8x8 pixels, 64 wide."""
    found = []
    for n, c, h, w, m, dtype, merged in (
        (1, 16, 5, 7, 8, torch.float32, True),
        (2, 256, 8, 16, 128, torch.bfloat16, False),
        (1, 144, 9, 5, 72, torch.float16, True),
        (2, 32, 7, 19, 16, torch.float16, False),
        (1, 128, 8, 16, 64, torch.bfloat16, True),
    ):
        vectors = [torch.randn(width, device=device) for width in (c, c, m, m, c)]
        shapes = (m, c, 1, 1), (m, m, 3, 3), (c, m, 1, 1)
        first, second, third = ((torch.randn(s) / (s[1] * s[2] * s[3]) ** 0.5).to(device, dtype) for s in shapes)
        x = _nhwc(n, c, h, w, device=device).to(dtype)
        upsample_to = _nhwc(n, c, 2 * h - 1, 2 * w, device=device).to(dtype) if merged else None
        scale, shift, bias1, bias2, bias3 = vectors
        found.append((x, scale, shift, first, bias1, second, bias2, third, bias3, upsample_to))
    return found


@samples("flip_merge", cast=(0, 1))
def _flip_merge(device: str) -> list[tuple[Any, ...]]:
    maps, flipped = torch.rand(2, 3, 9, 7, device=device), _nhwc(2, 3, 9, 7, device=device)
    return [
        (maps.requires_grad_(), flipped.requires_grad_(), [1, 0, 2], True),
        (flipped.detach(), maps.detach(), [0, 2, 1], False),
    ]


@samples("soft_argmax")
def _soft_argmax(device: str) -> list[tuple[Any, ...]]:
    return [
        (torch.rand(2, 3, 9, 7, device=device, requires_grad=True), 0.5, -1),
        (_nhwc(2, 3, 9, 7, device=device), 0.1, 2),
    ]


@samples("soft_argmax_backward")
def _soft_argmax_backward(device: str) -> list[tuple[Any, ...]]:
    found = []
    for maps, temperature, window in (
        (torch.rand(2, 3, 9, 7, device=device), 0.5, -1),
        (_nhwc(1, 2, 5, 8, device=device), 1.0, 2),
    ):
        keypoints, scores, totals = torch.ops.hgfast.soft_argmax(maps, temperature, window)
        grads = torch.randn_like(keypoints), torch.randn_like(scores)
        found.append((maps, keypoints, scores, totals, *grads, temperature, window))
    return found


@samples("heatmap_peaks", cast=(0,))
def _heatmap_peaks(device: str) -> list[tuple[Any, ...]]:
    return [
        (torch.rand(2, 3, 9, 7, device=device), 4, 0.0, "quarter"),
        (_nhwc(2, 3, 9, 7, device=device), 3, 0.2, "argmax"),
    ]


@samples("conv2d", cast=(0, 1, 2))
def _conv2d(device: str) -> list[tuple[Any, ...]]:
    x, weight = _nhwc(2, 8, 6, 4, device=device, grad=True), torch.randn(16, 8, 3, 3, device=device) / 9
    return [
        (x, weight.requires_grad_(), torch.randn(16, device=device, requires_grad=True), 2),
        (torch.randn(1, 8, 8, 7, device=device), weight.detach(), None, 1),
        (_nhwc(2, 5, 3, 3, device=device), torch.randn(7, 5, 1, 1, device=device), None, 1),
    ]


@samples("conv2d_input_grad", cast=(0, 1))
def _conv2d_input_grad(device: str) -> list[tuple[Any, ...]]:
    weight = torch.randn(16, 8, 3, 3, device=device) / 9
    return [
        (_nhwc(2, 16, 6, 4, device=device, grad=True), weight.requires_grad_(), 6, 4, 1),
        (torch.randn(1, 16, 3, 4, device=device), weight.detach(), 5, 7, 2),
    ]


@samples("conv2d_weight_grad", cast=(0, 1))
def _conv2d_weight_grad(device: str) -> list[tuple[Any, ...]]:
    grad, x = _nhwc(2, 16, 6, 4, device=device, grad=True), _nhwc(2, 8, 6, 4, device=device, grad=True)
    return [
        (grad, x, 3, 1, False),
        (torch.randn(1, 5, 3, 4, device=device), torch.randn(1, 3, 5, 7, device=device), 3, 2, True),
        (torch.randn(1, 5, 3, 4, device=device), torch.randn(1, 3, 3, 4, device=device), 1, 1, False),
    ]
