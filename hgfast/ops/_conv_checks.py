"""The argument checks that all convolutions share."""

from __future__ import annotations

from torch import Tensor

from hgfast import _checks

LARGEST_STRIDE = 2**31 - 1  # ATen's gradients hang with a larger one


def check(op: str, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> None:
    """x, weight, bias and stride fit each other.

    Raises:
        TypeError, ValueError: as :func:`hgfast.ops.conv2d`.
    """
    _checks.tensor(op, "x", x, ndim=4)
    _checks.tensor(op, "weight", weight, ndim=4)
    if bias is not None:
        _checks.tensor(op, "bias", bias, ndim=1)
    _checks.same_kind(op, ("x", x), ("weight", weight), ("bias", bias))
    _checks.integer(op, "stride", stride, 1, LARGEST_STRIDE)
    k, kernel = weight.shape[0], weight.shape[-1]
    if weight.shape[2] != kernel or kernel % 2 == 0:
        raise ValueError(f"{op}: weight must be (K, C, r, r) with r odd, got shape {tuple(weight.shape)}")
    _checks.shape(op, "weight", weight, (k, x.shape[1], kernel, kernel), "C of x")
    if bias is not None:
        _checks.shape(op, "bias", bias, (k,), "K of weight")
