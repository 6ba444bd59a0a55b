"""Fused networks of contiguous weights give contiguous results, as they did before.

The fused operations work in channels_last. Inside a network that costs nothing and nobody sees it, unless the code of
one of its modules asks for it (a ``view`` is refused for another layout): then what fused modules give to such code is
brought back, and what the network gives always is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from hgfast.fusion import source
from hgfast.nn.sequential import FusedSequential

ASKING = {"view", "view_as", "stride", "is_contiguous", "as_strided", "data_ptr", "storage", "untyped_storage"}
HOLDERS = (nn.ModuleList, nn.ModuleDict)


def keep_layouts(model: nn.Module, fused: tuple[type, ...]) -> None:
    """Register what brings results back. fused: classes of fused modules."""
    if in_channels_last(model) or not any(isinstance(module, fused) for module in model.modules()):
        return
    _watch(model)
    if any(source.names(type(module)) & ASKING for module in model.modules()):  # type: ignore[arg-type]
        for module in model.modules():
            if not source.is_known(type(module)):
                for child in _called(module):
                    if not _passes_on(child) or any(isinstance(part, fused) for part in child.modules()):
                        _watch(child)


def drop_layouts(module: nn.Module) -> None:
    """Take away what :func:`keep_layouts` has registered on a module."""
    for key in [key for key, hook in module._forward_hooks.items() if hook is contiguous_result]:
        del module._forward_hooks[key]


def contiguous_result(module: nn.Module, args: tuple[Any, ...], result: Any) -> Any:
    """A forward hook: contiguous results where neither the input nor the weights are in channels_last."""
    if any(isinstance(x, Tensor) and _is_channels_last(x) for x in args) or in_channels_last(module):
        return result
    return tree_map_only(Tensor, lambda y: y.contiguous() if _is_channels_last(y) else y, result)


def in_channels_last(module: nn.Module) -> bool:
    """Whether the first convolution that says so has its weight in channels_last."""
    for weight in module.parameters():
        if weight.dim() == 4 and weight.shape[1] > 1:
            return weight.stride(1) == 1 and weight.stride(3) == weight.shape[1]
    return False


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _watch(module: nn.Module) -> None:
    if contiguous_result not in module._forward_hooks.values():
        module.register_forward_hook(contiguous_result)


def _called(module: nn.Module) -> list[nn.Module]:
    """Children that a module's code can call: those of its lists, too."""
    found: list[nn.Module] = []
    for child in module.children():
        found += _called(child) if isinstance(child, HOLDERS) else [child]
    return found


def _passes_on(module: nn.Module) -> bool:
    return type(module).forward in (nn.Sequential.forward, FusedSequential.forward)
