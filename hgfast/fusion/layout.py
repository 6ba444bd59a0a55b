"""Fused networks of contiguous weights give contiguous results, as they did before.

The fused operations work in channels_last. Inside a network that costs nothing and nobody sees it, unless the code of
one of its modules asks for it (a ``view`` is refused for another layout): then what fused modules give to such code is
brought back, and what the network gives always is.
"""

from __future__ import annotations

from torch import nn

from hgfast.fusion.classes import plain_class
from hgfast.graph import source
from hgfast.nn._contiguous import contiguous_result

ASKING = {"view", "view_as", "stride", "is_contiguous", "as_strided", "data_ptr", "storage", "untyped_storage"}
HOLDERS = (nn.ModuleList, nn.ModuleDict)


def keep_layouts(model: nn.Module) -> None:
    """Register what brings results back."""
    _watch(model)
    for module in model.modules():
        if source.names(plain_class(module)) & ASKING:
            for child in _called(module):
                _watch(child)


def drop_layouts(module: nn.Module) -> None:
    """Take away what :func:`keep_layouts` has registered on a module."""
    for key in [key for key, hook in module._forward_hooks.items() if hook is contiguous_result]:
        del module._forward_hooks[key]


def _watch(module: nn.Module) -> None:
    if contiguous_result not in module._forward_hooks.values():
        module.register_forward_hook(contiguous_result)


def _called(module: nn.Module) -> list[nn.Module]:
    """Children that a module's code can call: those of its lists, too."""
    found: list[nn.Module] = []
    for child in module.children():
        found += _called(child) if isinstance(child, HOLDERS) else [child]
    return found
