"""Kernels at the sizes that fill a card, in half types: what the cases of the CPU are too small or too wide for.

The convolutions are those of hourglass52 at 256x256, one for each level, so that the roofline shows the levels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

import hgfast
from benchmarks.harness import Call, Case, benchmark_test

Shape = tuple[int, int, int, int]
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "tf32": torch.float32}


def activations(shape: Shape, device: str, dtype: torch.dtype, grad: bool = False) -> Tensor:
    """Random, channels_last."""
    x = torch.randn(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_(grad)


def merged(skip: Tensor, low: Tensor) -> Tensor:
    """The merge without hgfast."""
    return skip + F.interpolate(low, scale_factor=2, mode="nearest")


def merge(device: str, shape: Shape, dtype: torch.dtype) -> dict[str, Call]:
    """upsample_add, forward."""
    n, c, h, w = shape
    skip, low = activations(shape, device, dtype), activations((n, c, h // 2, w // 2), device, dtype)
    out = torch.empty_like(skip)
    return {
        "hgfast": partial(hgfast.ops.upsample_add, skip, low),
        "eager": partial(merged, skip, low),
        "torch.compile": partial(torch.compile(merged), skip, low),
        "yardstick: torch.add(out=)": partial(torch.add, skip, skip, out=out),
    }


def convolved(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, stride: int) -> Tensor:
    """Convolution, residual, ReLU without hgfast."""
    y = F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)
    return F.relu(y if residual is None else y + residual)


def by_cudnn(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, stride: int) -> Tensor:
    """PyTorch's fused call, with the algorithm that cuDNN finds fastest."""
    pad = weight.shape[-1] // 2
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        if residual is None:
            return torch.cudnn_convolution_relu(x, weight, bias, (stride, stride), (pad, pad), (1, 1), 1)
        return torch.cudnn_convolution_add_relu(x, weight, residual, 1.0, bias, (stride, stride), (pad, pad), (1, 1), 1)
    finally:
        torch.backends.cudnn.benchmark = before


def convolution(device: str, shape: Shape, width: int, kernel: int, stride: int, dtype: torch.dtype) -> dict[str, Call]:
    """conv_bias_act with bias and ReLU, and the residual where the shape stays."""
    x = activations(shape, device, dtype)
    fan_in = shape[1] * kernel**2
    weight = activations((width, shape[1], kernel, kernel), device, torch.float32) / fan_in**0.5
    weight, bias = weight.to(dtype), torch.randn(width, device=device).to(dtype)
    residual = activations(shape, device, dtype) if stride == 1 and width == shape[1] else None

    def without_gradient(function: Callable[..., Tensor], *args: object) -> Tensor:
        with torch.inference_mode():
            return function(*args)

    def ours(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, stride: int) -> Tensor:
        return hgfast.ops.conv_bias_act(x, weight, bias, stride, residual)  # type: ignore[attr-defined]

    arguments = (x, weight, bias, residual, stride)
    return {
        "hgfast": partial(without_gradient, ours, *arguments),
        "eager": partial(without_gradient, convolved, *arguments),
        "cuDNN fused": partial(without_gradient, by_cudnn, *arguments),
        "torch.compile": partial(without_gradient, torch.compile(convolved), *arguments),
    }


def normalised(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """BatchNorm, sum and ReLU without hgfast."""
    return F.relu(F.batch_norm(x, None, None, weight, bias, True, 0.1, 1e-5) + residual)


def norm(device: str, shape: Shape, dtype: torch.dtype) -> dict[str, Call]:
    """batch_norm_act in training, forward and backward."""
    x, residual = (activations(shape, device, dtype, grad=True) for _ in range(2))
    weight, bias = (torch.rand(shape[1], device=device).add(0.5).requires_grad_() for _ in range(2))
    grad = activations(shape, device, dtype)

    def ours(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        return hgfast.ops.batch_norm_act(x, weight, bias, None, None, True, residual=residual)

    def step(function: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        inputs = (x, weight, bias, residual)
        return torch.autograd.grad(function(*inputs), inputs, grad)

    functions = {"hgfast": ours, "eager": normalised, "torch.compile": torch.compile(normalised)}
    return {peer: partial(step, function) for peer, function in functions.items()}


def decode(device: str, shape: Shape, method: str) -> dict[str, Call]:
    """Maps on the card to keypoints on the host: decoded there, or moved to the host first, as MMPose does."""
    maps = torch.rand(shape, device=device)

    def on_the_card(function: Callable[..., tuple[Tensor, Tensor]]) -> list[Tensor]:
        return [result.cpu() for result in function(maps, method)]

    return {
        "hgfast": partial(on_the_card, hgfast.ops.decode_heatmaps),
        "moved to the host, torch": lambda: hgfast.reference.decode_heatmaps(maps.cpu(), method),
        "torch on the card": partial(on_the_card, hgfast.reference.decode_heatmaps),
        "hgfast, result left on the card": partial(hgfast.ops.decode_heatmaps, maps, method),
    }


def label(shape: Shape) -> str:
    """64x256x64x64."""
    return "x".join(map(str, shape))


def size(shape: Shape, arithmetic: str) -> int:
    """Bytes of a tensor."""
    return int(torch.Size(shape).numel()) * DTYPES[arithmetic].itemsize


def convolution_case(batch: int, side: int, c: int, k: int, kernel: int, stride: int, arithmetic: str) -> Case:
    """One convolution of a level; `side` is that of the input."""
    shape, out = (batch, c, side, side), (batch, k, side // stride, side // stride)
    residual = size(out, arithmetic) if stride == 1 and c == k else 0
    weights = k * c * kernel**2
    return Case(
        f"conv{kernel}x{kernel} s{stride} {arithmetic}/{label(shape)} to {k}",
        ("hgfast", "eager", "cuDNN fused", "torch.compile"),
        partial(convolution, shape=shape, width=k, kernel=kernel, stride=stride, dtype=DTYPES[arithmetic]),
        bytes=size(shape, arithmetic) + size(out, arithmetic) + residual + weights * DTYPES[arithmetic].itemsize,
        flops=2.0 * weights * batch * out[2] * out[3],
        arithmetic=arithmetic,
        devices=("cuda",),
    )


def merge_case(shape: Shape, arithmetic: str) -> Case:
    """One merge."""
    return Case(
        f"upsample_add {arithmetic}/{label(shape)}",
        ("hgfast", "eager", "torch.compile", "yardstick: torch.add(out=)"),
        partial(merge, shape=shape, dtype=DTYPES[arithmetic]),
        bytes=2.25 * size(shape, arithmetic),
        devices=("cuda",),
    )


def norm_case(shape: Shape, arithmetic: str) -> Case:
    """Forward reads x twice, the residual once, writes one; backward reads gradient and x twice, writes two."""
    return Case(
        f"batch_norm_act {arithmetic}/{label(shape)}",
        ("hgfast", "eager", "torch.compile"),
        partial(norm, shape=shape, dtype=DTYPES[arithmetic]),
        bytes=10 * size(shape, arithmetic),
        devices=("cuda",),
    )


def decode_case(shape: Shape, method: str) -> Case:
    """One decoding, with the transfer."""
    return Case(
        f"decode_heatmaps {method}/{label(shape)}",
        ("hgfast", "moved to the host, torch", "torch on the card", "hgfast, result left on the card"),
        partial(decode, shape=shape, method=method),
        bytes=size(shape, "tf32"),
        devices=("cuda",),
    )


LEVELS = [(64, 256, 256), (32, 256, 256), (16, 384, 384), (8, 384, 384), (4, 512, 512), (2, 512, 512)]
CASES = [
    *(convolution_case(64, side, c, k, 3, 1, "bfloat16") for side, c, k in LEVELS),
    merge_case((64, 256, 64, 64), "bfloat16"),
    norm_case((64, 256, 64, 64), "bfloat16"),
    decode_case((64, 16, 64, 64), "dark"),
    *(convolution_case(1, side, c, k, 3, 1, "bfloat16") for side, c, k in LEVELS),
    convolution_case(64, 64, 256, 256, 3, 2, "bfloat16"),
    convolution_case(64, 64, 256, 128, 1, 1, "bfloat16"),
    *(convolution_case(64, 64, 256, 256, 3, 1, arithmetic) for arithmetic in ("float16", "tf32")),
    merge_case((1, 256, 64, 64), "bfloat16"),
    merge_case((64, 384, 16, 16), "float16"),
    norm_case((64, 384, 16, 16), "bfloat16"),
    decode_case((64, 16, 64, 64), "quarter"),
]

test_case = benchmark_test(CASES)
