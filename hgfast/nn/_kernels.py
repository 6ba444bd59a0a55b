"""What the stages of a program compute, on tensors, at once. `_recorder.Recorder` has the same functions."""

from __future__ import annotations

import torch
from torch import Tensor

from hgfast._checks import PLAIN
from hgfast.constants import constant
from hgfast.ops import _conv_train
from hgfast.ops.upsample_add import upsample_add as merge
from hgfast.ops.upsample_add import upsample_add_backward as merge_backward

__all__ = ["add", "conv", "conv_backward", "merge", "merge_backward", "relu", "relu_backward", "zeros_like"]

conv = _conv_train.forward
conv_backward = _conv_train.backward
relu = torch.relu


def zeros_like(vector: Tensor) -> Tensor:
    """Zeros, which are others' as well: to be copied, not to be given out."""
    if type(vector) not in PLAIN or (vector.is_cuda and torch.cuda.is_current_stream_capturing()):
        return torch.zeros_like(vector)  # of that kind; in the graph's own memory
    return constant((0.0,), vector.device, vector.numel(), vector.dtype)


def add(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum."""
    return a + b


def relu_backward(grad: Tensor, x: Tensor) -> Tensor:
    """Compute the gradient of x, given that of relu(x)."""
    return torch.ops.aten.threshold_backward(grad, x, 0)
