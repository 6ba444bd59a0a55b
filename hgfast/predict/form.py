"""The form that a predictor runs a network in."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from hgfast.frozen import freeze
from hgfast.frozen.model import FrozenModel
from hgfast.models.common import PoseNetwork, check_size

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
log = logging.getLogger("hgfast")


def inference_form(model: nn.Module, amp: str) -> nn.Module:
    """hgfast.freeze's form of a network, or the network itself, and a warning, where there is none."""
    try:
        return freeze(model, DTYPES.get(amp))
    except (TypeError, ValueError, RuntimeError) as error:
        log.warning("Predictor: the network runs as it is, not frozen (%s)", error)
        return model


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network's parameters; the CPU where it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def check_input_size(network: nn.Module, size: tuple[int, int]) -> None:
    """Raise ValueError where a network that knows its sizes cannot take images of (width, height)."""
    if isinstance(network, PoseNetwork):
        check_size("codec.input_size", size, *network.size_rule)
    elif isinstance(network, FrozenModel):
        check_size("codec.input_size", size, network.graph.unit, network.graph.slack)


def autocast(device: torch.device, amp: str) -> AbstractContextManager[Any]:
    """Autocast context for "bf16" or "fp16", none for "off"."""
    if amp == "off":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[amp])
