"""A hook that gives the users of a fused network results as they lay in memory before.

The fused operations work in channels_last. Where neither the weights nor the input of a module are, its results are
brought back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only


def contiguous_result(module: nn.Module, args: tuple[Any, ...], result: Any) -> Any:
    """Make results contiguous as a forward hook, where neither the input nor the weights are in channels_last."""
    if any(isinstance(x, Tensor) and is_channels_last(x) for x in args) or in_channels_last(module):
        return result
    return tree_map_only(Tensor, contiguous, result)


def contiguous(x: Any) -> Any:
    """Return a tensor in channels_last as a contiguous one; anything else as it is."""
    return x.contiguous() if isinstance(x, Tensor) and is_channels_last(x) else x


def in_channels_last(module: nn.Module) -> bool:
    """Whether the first convolution that says so has its weight in channels_last."""
    for weight in module.parameters():
        if weight.dim() == 4 and weight.shape[1] > 1:
            return weight.stride(1) == 1 and weight.stride(3) == weight.shape[1]
    return False


def is_channels_last(x: Tensor) -> bool:
    """Whether a tensor is in channels_last and could not be taken for a contiguous one."""
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
