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
    _checks.activations(op, "x", x)
    check_weight(op, weight)
    if bias is not None:
        _checks.tensor(op, "bias", bias, ndim=1)
    _checks.same_kind(op, ("x", x), ("weight", weight), ("bias", bias))
    check_stride(op, stride)
    k, _, _, kernel = weight.shape
    _checks.shape(op, "weight", weight, (k, x.shape[1], kernel, kernel), "C of x")
    if bias is not None:
        _checks.shape(op, "bias", bias, (k,), "K of weight")


def check_weight(op: str, weight: Tensor) -> None:
    """A weight (K, C, r, r) that is not empty, r odd.

    Raises:
        TypeError, ValueError: it is none.
    """
    _checks.tensor(op, "weight", weight, ndim=4)
    rows, columns = weight.shape[2:]
    if rows != columns or rows % 2 == 0 or not weight.numel():
        raise ValueError(
            f"{op}: weight must be (K, C, r, r) with r odd, K and C at least 1, got shape {tuple(weight.shape)}"
        )


def check_stride(op: str, stride: int) -> None:
    """A stride that all convolutions take.

    Raises:
        TypeError, ValueError: it is none.
    """
    _checks.integer(op, "stride", stride, 1, LARGEST_STRIDE)
