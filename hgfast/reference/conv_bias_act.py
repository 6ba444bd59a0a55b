"""Plain PyTorch twin of conv_bias_act."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from hgfast.reference.conv2d import conv2d
from hgfast.reference.upsample_add import upsample_add

__all__ = ["conv_bias_act"]


def conv_bias_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int = 1,
    residual: Tensor | None = None,
    relu: bool = True,
    upsample_to: Tensor | None = None,
) -> Tensor:
    """``relu(conv2d(x, weight, bias) + residual)``, or that upsampled and added to upsample_to.

    Args: as :func:`hgfast.ops.conv_bias_act`.
    """
    out = conv2d(x, weight, bias, stride)
    if residual is not None:
        out = out + residual
    if relu:
        out = F.relu(out)
    return out if upsample_to is None else upsample_add(upsample_to, out)
