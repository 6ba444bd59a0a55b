"""Random modules of everything that `fuse` and `freeze` know, and of what they must leave alone.

A module's code is a list of instructions over values: convolutions, BatchNorms, activations, sums in place and not,
merges, pools, concatenations, views, writes into values, children of the same kind, layers that are called twice.
"""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 4
LAYERS = ("conv", "conv", "conv", "norm", "norm", "norm", "act", "act")
FUNCTIONS = ("relu", "relu", "add", "add", "iadd", "merge", "pool_merge", "cat", "clone", "drop")
RARE = ("relu_", "write", "view", "silu_", "child", "again", "mul", "double", "pair", "slice")

Instruction = tuple[Any, ...]


class RandomModule(nn.Module):
    """A network of CHANNELS channels from end to end, which keeps the size of even maps."""

    def __init__(self, seed: int, depth: int = 2) -> None:
        super().__init__()
        draw = random.Random(f"{seed} {depth}")
        self.layers = nn.ModuleList()
        self.steps: list[Instruction] = []
        values = 1
        for _ in range(draw.randint(3, 12)):
            kind = draw.choice((*LAYERS, *FUNCTIONS, draw.choice(RARE)))
            if kind == "child" and not depth:
                kind = "conv"
            a, b = draw.randrange(values), draw.randrange(max(0, values - 3), values)
            layer = self._layer(kind, draw, depth)
            self.steps.append((kind, b, a, layer))
            values += 1

    def _layer(self, kind: str, draw: random.Random, depth: int) -> int:
        """Number of the layer of an instruction, which may be one that is there already; -1 for none."""
        made: nn.Module | None = None
        if kind == "conv":
            kernel, bias = draw.choice((1, 3, 3)), draw.random() < 0.5
            made = nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=kernel // 2, bias=bias)
        elif kind == "norm":
            made = nn.BatchNorm2d(CHANNELS)
        elif kind == "act":
            made = draw.choice((nn.ReLU, nn.ReLU, nn.SiLU))(inplace=draw.random() < 0.5)
        elif kind == "cat":
            made = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)
        elif kind == "child":
            made = RandomModule(draw.randrange(10**9), depth - 1)
        elif kind == "again" and len(self.layers):
            return draw.choice([i for i, layer in enumerate(self.layers) if not _is_wide(layer)] or [-1])
        if made is None:
            return -1
        self.layers.append(made)
        return len(self.layers) - 1

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, CHANNELS, H, W) to the same shape."""
        values = [x]
        for kind, b, a, layer in self.steps:
            values.append(self.step(kind, values[b], values[a], self.layers[layer] if layer >= 0 else None))
        return values[-1]

    def step(self, kind: str, x: Tensor, y: Tensor, layer: Any) -> Tensor:
        """One instruction. x: a late value; y: any."""
        if layer is not None:
            return layer(torch.cat([x, y], 1) if kind == "cat" else x)  # type: ignore[no-any-return]
        if kind in ("iadd", "relu_", "write", "silu_"):
            return _in_place(kind, x, y)
        if kind == "merge":
            return y + F.interpolate(x[:, :, ::2, ::2], scale_factor=2)
        if kind == "pool_merge":
            return x + F.interpolate(F.max_pool2d(y, 2), size=x.shape[2:])
        if kind == "drop":
            return F.dropout(x, 0.5, self.training)
        if kind in ("relu", "mul", "clone"):
            return F.relu(x) if kind == "relu" else x * 0.5 if kind == "mul" else x.clone()
        if kind in ("add", "double"):
            return x + (y if kind == "add" else x)
        if kind == "view":
            return x.view(x.shape)
        return torch.cat(torch.chunk(x, 2, 1), 1) if kind == "pair" else x


def _in_place(kind: str, x: Tensor, y: Tensor) -> Tensor:
    if kind == "iadd":
        x += y
        return x
    if kind == "relu_":
        return x.relu_()
    if kind == "silu_":
        return F.silu(x, inplace=True)
    x[:, :1] = 0.5
    return x


def _is_wide(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.in_channels != CHANNELS
