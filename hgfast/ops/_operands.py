"""The last look at a tensor before a kernel is given its address: it has what the kernel takes for granted.

The public functions have checked their arguments by then, in their own words. Here is what nothing walks around: the
registered operators, which anybody may call, the fused blocks, whose parameters may have been replaced, and gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hgfast import _checks

Tensor = torch.Tensor


def expect(
    op: str, name: str, value: Tensor | None, shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None
) -> None:
    """value, if there is one, has this shape, like's device, and its dtype (or the one given).

    Raises:
        TypeError: another dtype.
        ValueError: another shape or device.
    """
    if value is None:
        return
    wanted = like.dtype if dtype is None else dtype
    if value.dtype is wanted and value.shape == shape and value.device == like.device:
        return
    _checks.tensor(op, name, value, dtypes=(wanted,))
    _checks.shape(op, name, value, shape)
    _checks.same_kind(op, ("the first tensor", like.to(wanted)), (name, value))
