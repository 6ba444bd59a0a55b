"""Reference of the targets: the encode rules of MMPose's codecs and of princeton-vl, map by map as the peers do it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GAUSSIAN_KINDS = ("msra", "unbiased", "udp", "newell")  # csrc/common/gaussian.h: GaussianKind


def gaussian_heatmaps(
    keypoints: Tensor,
    visible: Tensor,
    size: tuple[int, int],
    sigma: float,
    kind: str = "msra",
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Gaussians (N, K, H, W) about keypoints (N, K, 2) in heatmap pixels, and the joints' weights (N, K).

    See `hgfast.ops.gaussian_heatmaps` for the rules. Computed in float64 from the float32 keypoints.
    """
    width, height = size
    n, k = visible.shape
    heatmaps = torch.zeros(n, k, height, width, dtype=torch.float64)
    points, weights = keypoints.float().cpu(), visible.float().cpu().clone()
    for i in range(n):
        for j in range(k):
            if weights[i, j] < 0.5:
                continue
            x, y = points[i, j].tolist()
            columns = None if kind == "newell" and not x > 0 else _axis(x, width, sigma, kind)
            rows = _axis(y, height, sigma, kind)
            if columns is None or rows is None:
                weights[i, j] = 0
            else:
                heatmaps[i, j] = rows[:, None] * columns[None, :]
    return heatmaps.to(keypoints.device, dtype), weights.to(visible.device)


def _axis(at: float, size: int, sigma: float, kind: str) -> Tensor | None:
    """Return the Gaussian's factor along one axis (size,), cut to its patch; None if the patch misses the map."""
    if not math.isfinite(at):
        return None
    radius, centre = 3 * sigma, at
    low, high = at - radius, at + radius + 1
    if kind == "newell":
        pixel = math.trunc(at)
        if not 0 <= pixel < size:
            return None
        low, high = math.trunc(pixel - radius - 1), math.trunc(pixel + radius + 2)
        centre = low + radius + 1
    elif kind in ("msra", "udp"):
        pixel = math.trunc(float(torch.tensor(at) + 0.5))  # float32, as the peer adds it
        low, high = math.trunc(pixel - radius), math.trunc(pixel + radius + 1)
        centre = low + (2 * radius + 1) // 2 + (at - pixel if kind == "udp" else 0)
    if low >= size or high < 0:
        return None
    positions = torch.arange(size, dtype=torch.float64)
    values = torch.exp(-((positions - centre) ** 2) / (2 * sigma**2))
    return values if kind == "unbiased" else values * ((positions >= low) & (positions < high))
