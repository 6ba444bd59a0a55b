"""The pooling of Newell's hourglass as a module."""

from __future__ import annotations

from torch import Tensor

from hgfast import reference
from hgfast.ops.max_pool import max_pool, max_pool_branch

__all__ = ["MaxPool"]


class MaxPool(reference.MaxPool):
    """:class:`hgfast.reference.MaxPool` by :func:`hgfast.ops.max_pool`: same results."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H // 2, W // 2)."""
        return max_pool(x)

    def branch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Do as the reference; the gradients of both results are summed inside the pooling's gradient kernel."""
        return max_pool_branch(x)
