"""The networks that are timed, and what one image costs."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

import hgfast

GFLOP = {"hourglass52": 57.238, "hg2": 16.670, "hg8": 54.880}  # per image of 256x256, direct algorithm


@cache
def network(name: str) -> nn.Module:
    """The plain PyTorch model on the CPU, with weights that keep activations at the order of 1."""
    torch.manual_seed(0)
    model = hgfast.models.build(name, implementation="reference").eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model
