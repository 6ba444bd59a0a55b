"""Plain PyTorch twin of the whole pre-activation bottleneck."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from hgfast.reference.upsample_add import upsample_add

__all__ = ["bottleneck"]


def bottleneck(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    weight3: Tensor,
    bias3: Tensor,
    upsample_to: Tensor | None = None,
) -> Tensor:
    """x + conv3(relu(conv2(relu(conv1(relu(scale x + shift)))))), or that upsampled and added to upsample_to.

    Args: as :func:`hgfast.ops.bottleneck`.
    """
    dtype = x.dtype
    out = F.relu(x * scale.to(dtype)[:, None, None] + shift.to(dtype)[:, None, None])
    out = F.relu(F.conv2d(out, weight1, bias1.to(dtype)))
    out = F.relu(F.conv2d(out, weight2, bias2.to(dtype), padding=1))
    out = F.conv2d(out, weight3, bias3.to(dtype)) + x
    return out if upsample_to is None else upsample_add(upsample_to, out)
