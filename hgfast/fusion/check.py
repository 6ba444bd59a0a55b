"""Proof that a fused module computes what the module does that it is to replace."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

HALF = (torch.float16, torch.bfloat16)


def same_result(module: nn.Module, fused: nn.Module) -> bool:
    """Whether both give the same for random input in evaluation mode; True where there are no data (meta device).

    An error in either counts as a difference.
    """
    first = next(module.parameters(), None)
    if first is None or first.device.type == "meta":
        return True
    channels = _input_channels(module)
    side = 4 << _depth(module)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, channels, side, side, generator=generator).to(first.device, first.dtype)
    modes = {m: m.training for m in (*module.modules(), *fused.modules())}
    try:
        with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
            expected = module.eval()(x.clone()).float()
            result = fused.eval()(x).float()
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return False
    finally:
        for m, training in modes.items():
            m.training = training
    allowed = 3e-2 if first.dtype in HALF else 1e-3
    return result.shape == expected.shape and bool((result - expected).norm() <= allowed * expected.norm())


def _input_channels(module: nn.Module) -> int:
    """Channels of the first thing that runs: a pre-activation block starts with its BatchNorm."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            return part.in_channels
        if hasattr(part, "num_features"):
            return int(part.num_features)  # type: ignore[arg-type]
    return 3


def _depth(module: Any) -> int:
    """How often the module halves its input and doubles it again."""
    inner = getattr(module, "low2", None)
    return 0 if inner is None else 1 + _depth(inner)
