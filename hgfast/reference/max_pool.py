"""Reference of 2x2 max-pooling and its gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F

Tensor = torch.Tensor


def max_pool(x: Tensor) -> Tensor:
    """Take the largest of each 2x2 cell of x (N, C, H, W): (N, C, H // 2, W // 2)."""
    return F.max_pool2d(x, 2)


def max_pool_backward(grad: Tensor, x: Tensor, addend: Tensor | None) -> Tensor:
    """Put grad (N, C, H // 2, W // 2) at the largest pixel of each cell, plus addend (N, C, H, W)."""
    _, places = F.max_pool2d(x, 2, return_indices=True)
    wide = grad.dtype if grad.dtype == torch.float64 else torch.float32
    before = torch.zeros_like(x, dtype=wide) if addend is None else addend.to(wide)
    sums = before.flatten(2).scatter_add(2, places.flatten(2), grad.to(wide).flatten(2))
    return torch.empty_like(x).copy_(sums.view(x.shape))


def max_pool_gather(values: Tensor, x: Tensor) -> Tensor:
    """Return what values (N, C, H, W) are at the largest pixel of each 2x2 cell of x: (N, C, H // 2, W // 2)."""
    _, places = F.max_pool2d(x, 2, return_indices=True)
    return values.flatten(2).gather(2, places.flatten(2)).view(places.shape)
