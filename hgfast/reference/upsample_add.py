"""Reference of the merge: what an hourglass does where a finer and a coarser level meet."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def upsample_add(skip: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """skip (N, C, H, W) + low (N, C, h, w) brought to (H, W) by nearest neighbour as `F.interpolate(size=)` does it."""
    return skip + F.interpolate(low, size=skip.shape[-2:], mode="nearest")


def upsample_add_backward(grad: torch.Tensor, low_h: int, low_w: int) -> torch.Tensor:
    """Sum grad (N, C, H, W) over the pixels that each pixel of low (N, C, low_h, low_w) went to."""
    n, c, h, w = grad.shape
    if not grad.numel():
        return grad.new_zeros(n, c, low_h, low_w)
    rows = _nearest_source(h, low_h, grad.device)
    columns = _nearest_source(w, low_w, grad.device)
    wide = grad.double() if grad.dtype == torch.float64 else grad.float()
    by_row = wide.new_zeros(n, c, low_h, w).index_add(2, rows, wide)
    return by_row.new_zeros(n, c, low_h, low_w).index_add(3, columns, by_row).to(grad.dtype)


def _nearest_source(size: int, source_size: int, device: torch.device) -> torch.Tensor:
    """Return for each of `size` output positions the source position that nearest interpolation reads."""
    positions = torch.arange(source_size, dtype=torch.float32, device=device)[None, None]
    return F.interpolate(positions, size=size, mode="nearest")[0, 0].long()
