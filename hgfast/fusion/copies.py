"""Copies of modules to try things on."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hgfast.nn._structure import CALL_HOOKS, STATE_HOOKS


def clean_copy(module: nn.Module, width: int | None = None) -> nn.Module:
    """Return a copy in float64 on the CPU with random numbers, without hooks, that asks for every gradient.

    width: channels that are kept of each tensor.
    """
    hooks = (getattr(part, name) for part in module.modules() for name in CALL_HOOKS + STATE_HOOKS)
    memo: dict[int, Any] = {
        id(registered): type(registered)() for registered in hooks
    }  # empty in the copy, whatever they hold
    twin = copy.deepcopy(module, memo)
    twin = twin if width is None else narrowed(twin, width)
    twin = (twin.to_empty(device="cpu") if _is_meta(twin) else twin.cpu()).double().requires_grad_()
    numbers = generator()
    for part in twin.modules():
        if type(part) is nn.SyncBatchNorm:
            part.__class__ = nn.BatchNorm2d  # type: ignore  # the same but for other processes, which are not asked here
        part.__dict__.pop("synchronised", None)
        for name, value in (*part._parameters.items(), *part._buffers.items()):
            if value is not None and value.is_floating_point():
                _fill(name, value.data, numbers)
            elif value is not None:
                value.zero_()
    return twin


def narrowed(module: nn.Module, width: int) -> nn.Module:
    """Return the module with the first `width` channels of all its tensors."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, value in tensors.items():
                if value is not None and value.dim():
                    narrow = value.detach()[(slice(width),) * min(value.dim(), 2)].clone()
                    tensors[name] = nn.Parameter(narrow) if isinstance(value, nn.Parameter) else narrow  # type: ignore
    return module


def _fill(name: str, value: Tensor, generator: torch.Generator) -> None:
    if value.dim() > 1:
        value.normal_(0, max(value[0].numel(), 1) ** -0.5, generator=generator)
    elif name == "running_var":
        value.uniform_(0.5, 1.5, generator=generator)
    else:
        value.normal_(0.3, 0.7, generator=generator)


def _is_meta(module: nn.Module) -> bool:
    return any(value.device.type == "meta" for value in (*module.parameters(), *module.buffers()))


def generator() -> torch.Generator:
    """Return a generator that gives the same numbers each time."""
    return torch.Generator().manual_seed(0)
