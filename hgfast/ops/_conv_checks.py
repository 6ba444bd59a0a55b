"""The argument checks that all convolutions share."""

from __future__ import annotations

from torch import Tensor

from hgfast import _checks

Pair = tuple[int, ...]
LARGEST_STRIDE = 2**31 - 1  # ATen's gradients hang with a larger one


def is_same(
    kernel: Pair, stride: Pair, padding: Pair | str, dilation: Pair, groups: int, padding_mode: str = "zeros"
) -> bool:
    """Whether a convolution of torch's settings is one of hgfast's: what fuse and freeze both ask.

    It has a square odd kernel, as many zeros on each side as keep the size at stride 1, equal strides, one group and no
    dilation. All are of height and width, the padding may be "same" or "valid" as torch has it.
    """
    if len(kernel) != 2:
        return False
    side, around = kernel[0], (0, 0) if padding == "valid" else padding
    same = around == "same" or tuple(around) == (side // 2, side // 2)
    square = side % 2 == 1 and side == kernel[1]
    return same and square and stride[0] == stride[1] and groups == 1 and dilation == (1, 1) and padding_mode == "zeros"


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
    """Require a weight (K, C, r, r) that is not empty, r odd.

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
    """Require a stride that all convolutions take.

    Raises:
        TypeError, ValueError: it is none.
    """
    _checks.integer(op, "stride", stride, 1, LARGEST_STRIDE)
