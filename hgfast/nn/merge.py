"""The merge of an hourglass as a module."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hgfast import _checks
from hgfast.nn._program import MERGE
from hgfast.nn._tape import run
from hgfast.ops.upsample_add import upsample_add

__all__ = ["UpsampleAdd"]


class UpsampleAdd(nn.Module):
    """``skip + nearest(low)`` by :func:`hgfast.ops.upsample_add`; no parameters.

    Args:
        inplace: Whether the result takes the place of skip where no gradient is asked for. For a skip that nothing else
            reads; the fused networks do without, for a branch may give its input, and hooks may keep what it gives.
        exact: Whether low is repeated 2x2 and nothing else, as ``nn.Upsample(scale_factor=2)`` does: another size than
            half of skip's is then an error. Without it low is brought to skip's size, whatever that is.
    """

    recompute = False

    def __init__(self, inplace: bool = False, exact: bool = False) -> None:
        super().__init__()
        self.inplace = _checks.flag("UpsampleAdd", "inplace", inplace)
        self.exact = _checks.flag("UpsampleAdd", "exact", exact)

    def forward(self, skip: Tensor, low: Tensor) -> Tensor:
        """Add skip (N, C, H, W) and low (N, C, h, w) resized to (H, W) as ``F.interpolate(mode="nearest")`` does.

        Raises:
            TypeError: an argument is no dense floating-point tensor, or dtypes differ.
            ValueError: ranks, sizes or devices do not fit; exact, and (H, W) is not (2h, 2w).
        """
        _checks.tensor("UpsampleAdd", "skip", skip, ndim=4)
        _checks.tensor("UpsampleAdd", "low", low, ndim=4)
        if self.exact and (*low.shape[:2], 2 * low.shape[2], 2 * low.shape[3]) != tuple(skip.shape):
            return _repeat_add(skip, low)
        differentiable = torch.is_grad_enabled() and (skip.requires_grad or low.requires_grad)
        if differentiable and self.recompute:
            return run(MERGE, [skip, low], recompute=True)
        return upsample_add(skip, low, out=skip if self.inplace and not differentiable else None)

    def extra_repr(self) -> str:
        """Return the arguments for ``repr``."""
        return f"inplace={self.inplace}, exact={self.exact}"


def _repeat_add(skip: Tensor, low: Tensor) -> Tensor:
    """skip + low repeated 2x2 by torch's rules, where a size of 1 fits any other."""
    wide = F.interpolate(low, scale_factor=2.0, mode="nearest")
    if any(a != b and 1 not in (a, b) for a, b in zip(skip.shape, wide.shape, strict=True)):
        raise ValueError(
            f"UpsampleAdd: skip of shape {tuple(skip.shape)} must have twice the height and width of low, of shape "
            f"{tuple(low.shape)}; the network's input must be of a size that halves evenly at each level"
        )
    return skip + wide
