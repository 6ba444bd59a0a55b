"""Reference of multi-peak decoding: 3x3 non-maximum suppression and a stable sort."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from hgfast.reference.decode_heatmaps import newell_step, quarter_step


def heatmap_peaks(
    heatmaps: torch.Tensor, count: int, threshold: float = 0.0, method: str = "quarter"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find keypoints (N, K, count, 2), scores (N, K, count) of maps (N, K, H, W); see `hgfast.ops.heatmap_peaks`."""
    maps = heatmaps.to(torch.float64 if heatmaps.dtype == torch.float64 else torch.float32)
    numbers = torch.where(maps.isnan(), -math.inf, maps)
    # an infinite peak's neighbours: max_pool2d pads with -inf itself
    highest = (numbers == F.max_pool2d(numbers, 3, 1, 1)) & (numbers > threshold)
    ranked = torch.where(highest, numbers, -math.inf).flatten(2)
    ranked = F.pad(ranked, (0, max(0, count - ranked.shape[-1])), value=-math.inf)
    values, index = (out[..., :count] for out in ranked.sort(dim=-1, descending=True, stable=True))
    found, w = values > threshold, maps.shape[-1]
    places = []
    for i in range(count):
        place = torch.where(found[..., i], index[..., i], 0)
        x, y = place % w, place // w
        step = {"quarter": quarter_step, "newell": newell_step}.get(method, _no_step)(maps, x, y)
        places.append(torch.stack((x, y), -1) + step)
    keypoints = torch.where(found[..., None], torch.stack(places, -2), -1.0)
    return keypoints.to(maps.dtype), torch.where(found, values, 0.0)


def _no_step(maps: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.zeros(*x.shape, 2, dtype=torch.float64, device=maps.device)
