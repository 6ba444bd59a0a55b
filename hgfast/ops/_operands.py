"""How the tensors of an operator fit each other.

`fit` is for the checks of arguments, with messages that name both tensors. `expect` is the last look at a tensor before
a kernel is given its address, quick where all is right: the fused blocks, whose parameters may have been replaced, and
gradients come to the kernels by a way of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hgfast import _checks

Tensor = torch.Tensor


def fit(
    op: str,
    name: str,
    value: Tensor,
    shape: Sequence[int],
    owner: tuple[str, Tensor],
    dtypes: Sequence[torch.dtype] = (),
    why: str = "",
) -> None:
    """value has this shape, the owner's device, and its dtype (or one of those given).

    why: where the shape comes from, if not from the owner alone.

    Raises:
        TypeError: no dense tensor, or another dtype; the message names the owner too, as do the others.
        ValueError: another shape or device.
    """
    other, first = owner
    allowed = dtypes or (first.dtype,)
    if type(value) is Tensor and value.dtype in allowed and value.layout is torch.strided and not value.is_nested:
        if value.shape == shape and value.device == first.device:
            return
    _checks.tensor(op, name, value, dtypes=(*_checks.FLOATING, *dtypes))
    if value.dtype not in allowed:
        words = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        wanted = f"one of the dtypes {words} beside {other} of" if dtypes else f"{other}'s dtype"
        raise TypeError(f"{op}: {name} must have {wanted} {first.dtype}, got {value.dtype}")
    if value.device != first.device:
        raise ValueError(f"{op}: {name} must be on {other}'s device {first.device}, got {value.device}")
    _checks.shape(op, name, value, shape, why or f"{other} has {tuple(first.shape)}")


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
    if value.dtype is wanted and value.shape == shape and _checks.same_device(value, like):
        return
    _checks.tensor(op, name, value, dtypes=(wanted,))
    _checks.shape(op, name, value, shape)
    _checks.same_kind(op, ("the first tensor", like.to(wanted)), (name, value))
