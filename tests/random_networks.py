"""Networks put together at random from what hgfast.graph knows and what it does not."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = (
    *("conv", "conv", "conv", "norm", "norm", "relu", "relu_", "add", "add", "iadd", "raise", "raise", "pool"),
    *("cat", "depthwise", "deconv", "scale", "slice", "act", "identity", "norm_relu", "norm_relu"),
)


class RandomNetwork(nn.Module):
    """Steps that each read one or two of the values so far, (N, 4, H / s, W / s); gives a few of them."""

    def __init__(self, seed: int, length: int = 24) -> None:
        super().__init__()
        numbers = random.Random(seed)
        self.parts, self.steps, scales = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1)]), list[Any](), [1]
        while len(self.steps) < length:
            step = self._step(numbers, numbers.choice(STEPS), scales)
            if step is not None:
                self.steps.append(step)
        last = len(scales) - 1
        self.given = [last, *numbers.sample(range(last), 2)]

    def _step(self, numbers: random.Random, kind: str, scales: list[int]) -> Any:
        """(kind, the values that it reads, the number of its part); appends the scale of its result."""
        recent = numbers.random() < 0.7
        a = numbers.randrange(max(0, len(scales) - 4), len(scales)) if recent else numbers.randrange(len(scales))
        scale, part, b = scales[a], None, a
        if kind in ("conv", "depthwise"):
            side, stride = numbers.choice([(1, 1), (3, 1), (3, 1), (3, 2), (1, 2)]) if scale < 8 else (3, 1)
            part = nn.Conv2d(4, 4, side, stride, side // 2, groups=4 if kind == "depthwise" else 1, bias=side == 1)
            scale *= stride
        elif kind in ("norm", "norm_relu"):
            part = nn.BatchNorm2d(4)
        elif kind == "deconv" and scale > 1:
            part, scale = nn.ConvTranspose2d(4, 4, 4, 2, 1), scale // 2
        elif kind == "pool" and scale < 8:
            scale *= 2
        elif kind in ("add", "iadd", "cat"):
            others = [i for i, other in enumerate(scales) if other == scale]
            b = numbers.choice(others)
            part = nn.Conv2d(8, 4, 1) if kind == "cat" else None
        elif kind == "raise":
            larger = [i for i, other in enumerate(scales) if other < scale]
            if not larger:
                return None
            b = numbers.choice(larger)
            scale = scales[b]
        elif kind in ("deconv", "pool"):
            return None
        if part is not None:
            self.parts.append(part)
        scales.append(scale)
        return kind, a, b, len(self.parts) - 1

    def forward(self, x: Tensor) -> list[Tensor]:
        values = [self.parts[0](x)]
        for kind, a, b, part in self.steps:
            values.append(self._run(kind, values[a], values[b], self.parts[part]))
        return [values[i] for i in self.given]

    def _run(self, kind: str, x: Tensor, y: Tensor, part: nn.Module) -> Tensor:
        if kind in ("conv", "norm", "depthwise", "deconv"):
            return part(x)
        if kind == "norm_relu":
            return F.relu(part(x))
        if kind == "cat":
            return part(torch.cat([x, y], 1))
        if kind == "raise":
            return y + F.interpolate(x, scale_factor=y.shape[-1] // x.shape[-1])
        if kind == "iadd":
            x += y
            return x
        if kind == "slice":
            return torch.cat([x[:, 2:], x[:, :2]], 1)
        return {
            "relu": F.relu,
            "relu_": lambda v: v.relu_(),
            "add": lambda v: v + y,
            "pool": lambda v: F.max_pool2d(v, 2),
            "scale": lambda v: v * 0.5,
            "act": F.leaky_relu,
            "identity": lambda v: v.contiguous(),
        }[kind](x)
