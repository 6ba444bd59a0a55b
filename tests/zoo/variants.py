"""Hourglasses of blocks that are not Newell's: depthwise inverted residuals, and branches that drop out."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Block = Callable[[int, int], nn.Module]


class InvertedResidual(nn.Module):
    """MobileNetV2's: 1x1 up, 3x3 depthwise, 1x1 down; ReLU6, none at the end."""

    def __init__(self, i: int, o: int, expand: int = 6) -> None:
        super().__init__()
        c = i * expand
        self.use_res_connect = i == o
        self.conv = nn.Sequential(
            nn.Sequential(nn.Conv2d(i, c, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU6(inplace=True)),
            nn.Sequential(nn.Conv2d(c, c, 3, 1, 1, groups=c, bias=False), nn.BatchNorm2d(c), nn.ReLU6(inplace=True)),
            nn.Conv2d(c, o, 1, bias=False),
            nn.BatchNorm2d(o),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class DroppingResidual(nn.Module):
    """Two 3x3 convolutions with dropout between; in training whole branches are left out at random."""

    def __init__(self, i: int, o: int, dropout: float = 0.1, drop_path: float = 0.2) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
        self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o)) if i != o else None
        self.dropout, self.drop_path = dropout, drop_path

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.dropout(out, self.dropout, self.training)
        out = self.bn2(self.conv2(out))
        if self.training and self.drop_path > 0:
            kept = 1 - self.drop_path
            out = out * torch.empty_like(out[:, :1, :1, :1]).bernoulli_(kept) / kept
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Level(nn.Module):
    """One level and those below."""

    def __init__(self, block: Block, c: int, depth: int) -> None:
        super().__init__()
        self.up1, self.pool, self.low1 = block(c, c), nn.MaxPool2d(2), block(c, c)
        self.low2 = Level(block, c, depth - 1) if depth > 1 else block(c, c)
        self.low3 = block(c, c)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low3(self.low2(self.low1(self.pool(x))))
        return self.up1(x) + F.interpolate(low, scale_factor=2.0)


class HourglassOf(nn.Module):
    """A strided stem and stacks of hourglasses of a block."""

    def __init__(self, block: Block, stacks: int = 2, c: int = 128, depth: int = 4, joints: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, c // 2, 3, 2, 1, bias=False), nn.BatchNorm2d(c // 2), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), block(c // 2, c),
        )  # fmt: skip
        self.stacks = nn.ModuleList(Level(block, c, depth) for _ in range(stacks))
        self.heads = nn.ModuleList(nn.Conv2d(c, joints, 1) for _ in range(stacks))
        self.back = nn.ModuleList(nn.Conv2d(joints, c, 1) for _ in range(stacks - 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x, results = self.stem(x), []
        for i, stack in enumerate(self.stacks):
            y = stack(x)
            results.append(self.heads[i](y))
            if i < len(self.back):
                x = x + y + self.back[i](results[i])
        return tuple(results)
