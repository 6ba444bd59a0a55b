"""Reference of soft-argmax: the mean position under a softmax, and its gradient."""

from __future__ import annotations

import torch

from hgfast.reference.decode_heatmaps import first_maximum


def soft_argmax(
    heatmaps: torch.Tensor, temperature: float = 1.0, window: int = -1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute keypoints (N, K, 2), maxima (N, K) and sums of weights (N, K) of maps (N, K, H, W).

    A value's weight is exp((value - maximum) / temperature), 0 for NaN and outside the window (window < 0: none).
    """
    maps = heatmaps.to(torch.float64 if heatmaps.dtype == torch.float64 else torch.float32)
    weights, maximum, x, y = _weights(maps, temperature, window)
    total = weights.sum((-2, -1))
    columns, rows = _positions(maps)
    # relative to the maximum: no digits are lost on a sharp peak far from the origin
    mean_x = x + (weights * (columns - x[..., None, None])).sum((-2, -1)) / total
    mean_y = y + (weights * (rows - y[..., None, None])).sum((-2, -1)) / total
    keypoints = torch.where((total > 0)[..., None], torch.stack((mean_x, mean_y), -1), -1.0)
    return keypoints.to(maps.dtype), maximum, total


def soft_argmax_backward(
    heatmaps: torch.Tensor,
    keypoints: torch.Tensor,
    scores: torch.Tensor,
    totals: torch.Tensor,
    grad_keypoints: torch.Tensor,
    grad_scores: torch.Tensor,
    temperature: float,
    window: int,
) -> torch.Tensor:
    """Compute the gradient of the maps (N, K, H, W); that of the scores goes to the first maxima."""
    maps = heatmaps.to(keypoints.dtype)
    weights, _, x, y = _weights(maps, temperature, window)
    columns, rows = _positions(maps)

    def per_map(values: torch.Tensor) -> torch.Tensor:
        return values[..., None, None]

    slope = per_map(grad_keypoints[..., 0]) * (columns - per_map(keypoints[..., 0]))
    slope = slope + per_map(grad_keypoints[..., 1]) * (rows - per_map(keypoints[..., 1]))
    grad = weights / per_map(totals * temperature) * slope
    at_peak = (columns == per_map(x)) & (rows == per_map(y))
    grad = grad + torch.where(at_peak, per_map(grad_scores), 0.0)
    return torch.where(per_map(totals > 0), grad, 0.0).to(heatmaps.dtype).contiguous()


def _positions(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    h, w = maps.shape[-2:]
    return torch.arange(w, device=maps.device), torch.arange(h, device=maps.device)[:, None]


def _weights(
    maps: torch.Tensor, temperature: float, window: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the weight of each value; value, column and row of the first maxima."""
    maximum, x, y = first_maximum(maps)
    top = maximum[..., None, None]
    weights = torch.where(maps == top, 1.0, ((maps - top) / temperature).exp())
    columns, rows = _positions(maps)
    far = torch.maximum((columns - x[..., None, None]).abs(), (rows - y[..., None, None]).abs())
    outside = (far > window) if window >= 0 else torch.zeros_like(far, dtype=torch.bool)
    return torch.where(maps.isnan() | outside, 0.0, weights), maximum, x, y
