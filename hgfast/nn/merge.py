"""The merge of an hourglass as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hgfast.nn._program import MERGE
from hgfast.nn._tape import run
from hgfast.ops.upsample_add import upsample_add

__all__ = ["UpsampleAdd"]


class UpsampleAdd(nn.Module):
    """``skip + nearest(low)`` by :func:`hgfast.ops.upsample_add`; no parameters.

    Args:
        inplace: Whether the result may take the place of skip where no gradient is asked for. Safe if nothing else
            reads skip, as in an hourglass; a forward hook that keeps ``up1``'s output then sees the sum.
    """

    recompute = False

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, skip: Tensor, low: Tensor) -> Tensor:
        """Add skip (N, C, H, W) and low (N, C, h, w) resized to (H, W) as ``F.interpolate(mode="nearest")`` does."""
        differentiable = torch.is_grad_enabled() and (skip.requires_grad or low.requires_grad)
        if differentiable and self.recompute:
            return run(MERGE, [skip, low], recompute=True)
        return upsample_add(skip, low, out=skip if self.inplace and not differentiable else None)

    def extra_repr(self) -> str:
        """Return the arguments for ``repr``."""
        return f"inplace={self.inplace}"
