"""Targets and loss: encoding a batch, loss + gradient with the target given or made inside, against eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Call, Case, benchmark_test
from hgfast.ops import gaussian_heatmaps, keypoint_mse, keypoint_mse_from_points

N, K, SIZE, SIGMA = 64, 16, 64, 2
MAPS = 4 * N * K * SIZE * SIZE  # bytes of one set of float32 maps


def points(device: str) -> tuple[Tensor, Tensor]:
    """Keypoints all over the maps, nearly all visible."""
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.rand(N, K, 2, generator=generator) * SIZE
    return keypoints.to(device), (torch.rand(N, K, generator=generator) > 0.1).float().to(device)


def mmpose_encode(keypoints: np.ndarray, visible: np.ndarray, size: int = SIZE) -> np.ndarray:
    """MSRA targets (..., size, size) the way MMPose makes them: numpy, joint by joint."""
    heatmaps = np.zeros((*visible.shape, size, size), dtype=np.float32)
    radius = 3 * SIGMA
    axis = np.arange(0, 2 * radius + 1, 1, dtype=np.float32)
    for n, k in np.ndindex(visible.shape):
        if visible[n, k] < 0.5:
            continue
        mu = (keypoints[n, k] + 0.5).astype(np.int64)
        left, top = mu - radius
        right, bottom = mu + radius + 1
        if left >= size or top >= size or right < 0 or bottom < 0:
            continue
        gaussian = np.exp(-((axis - radius) ** 2 + (axis[:, None] - radius) ** 2) / (2 * SIGMA**2))
        x0, x1, y0, y1 = max(0, left), min(size, right), max(0, top), min(size, bottom)
        patch = gaussian[y0 - top : y1 - top, x0 - left : x1 - left]
        np.maximum(heatmaps[n, k, y0:y1, x0:x1], patch, out=heatmaps[n, k, y0:y1, x0:x1])
    return heatmaps


def encode(device: str) -> dict[str, Call]:
    """One batch of targets; the bound is filling the tensor."""
    keypoints, visible = points(device)
    arrays = keypoints.cpu().numpy(), visible.cpu().numpy()
    return {
        "hgfast": partial(gaussian_heatmaps, keypoints, visible, (SIZE, SIZE), SIGMA),
        "MMPose (numpy)": partial(mmpose_encode, *arrays),
        "yardstick: torch.zeros": lambda: torch.empty(N, K, SIZE, SIZE, device=device).zero_(),
    }


def eager_loss(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """MMPose's KeypointMSELoss."""
    return (((pred - target) ** 2) * weight[:, :, None, None]).mean()


def with_gradient(loss: Callable[..., Tensor], pred: Tensor, *rest: Tensor) -> Tensor:
    """Forward and backward to the prediction."""
    return torch.autograd.grad(loss(pred, *rest), pred)[0]


def loss_given(device: str) -> dict[str, Call]:
    """Loss and gradient with a target tensor."""
    keypoints, visible = points(device)
    target, weight = gaussian_heatmaps(keypoints, visible, (SIZE, SIZE), SIGMA)
    pred = torch.randn_like(target).requires_grad_()
    buffer = torch.empty_like(target)
    return {
        "hgfast": partial(with_gradient, keypoint_mse, pred, target, weight),
        "eager": partial(with_gradient, eager_loss, pred, target, weight),
        "torch.compile": partial(with_gradient, torch.compile(eager_loss), pred, target, weight),
        "yardstick: torch.sub(out=)": lambda: torch.sub(pred.detach(), target, out=buffer),
    }


def loss_made(device: str) -> dict[str, Call]:
    """Loss and gradient from keypoints; eager has to make the target first."""
    keypoints, visible = points(device)
    target, weight = gaussian_heatmaps(keypoints, visible, (SIZE, SIZE), SIGMA)
    pred = torch.randn_like(target).requires_grad_()

    def ours(pred: Tensor) -> Tensor:
        return keypoint_mse_from_points(pred, keypoints, visible, SIGMA)

    return {
        "hgfast": partial(with_gradient, ours, pred),
        "eager": partial(with_gradient, eager_loss, pred, target, weight),
    }


SHAPE = f"{N}x{K}x{SIZE}x{SIZE}"
CASES = [
    Case(f"gaussian_heatmaps/{SHAPE}", ("hgfast", "MMPose (numpy)", "yardstick: torch.zeros"), encode, MAPS, threads=1),
    Case(
        f"keypoint_mse/{SHAPE}",
        ("hgfast", "eager", "torch.compile", "yardstick: torch.sub(out=)"),
        loss_given,
        bytes=3 * MAPS,
        flops=5 * MAPS / 4,
    ),
    Case(f"keypoint_mse_from_points/{SHAPE}", ("hgfast", "eager"), loss_made, bytes=2 * MAPS, flops=7 * MAPS / 4),
]

test_case = benchmark_test(CASES)
