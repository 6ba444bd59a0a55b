"""DLA-34: blocks in trees whose roots concatenate what all branches below them gave."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDTHS, LEVELS = (16, 32, 64, 128, 256, 512), (1, 1, 1, 2, 2, 1)


class BasicBlock(nn.Module):
    """A basic block that is given its shortcut."""

    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        if shortcut is None:
            shortcut = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += shortcut
        return self.relu(out)


class Root(nn.Module):
    """A 1x1 convolution of all that come in, side by side."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)

    def forward(self, children: list[Tensor]) -> Tensor:
        return self.relu(self.bn(self.conv(torch.cat(children, 1))))


class Tree(nn.Module):
    """Two subtrees, or two blocks and their root."""

    def __init__(self, levels: int, i: int, o: int, stride: int, level_root: bool = False, root_dim: int = 0) -> None:
        super().__init__()
        root_dim = (root_dim or 2 * o) + (i if level_root else 0)
        self.levels, self.level_root = levels, level_root
        self.downsample = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Identity()
        self.project: nn.Module = nn.Identity()
        if levels == 1:
            self.tree1: nn.Module = BasicBlock(i, o, stride)
            self.tree2: nn.Module = BasicBlock(o, o)
            if i != o:
                self.project = nn.Sequential(nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))
            self.root = Root(root_dim, o)
        else:
            self.tree1 = Tree(levels - 1, i, o, stride)
            self.tree2 = Tree(levels - 1, o, o, 1, root_dim=root_dim + o)

    def forward(self, x: Tensor, children: list[Tensor] | None = None) -> Tensor:
        children = [] if children is None else children
        bottom = self.downsample(x)
        if self.level_root:
            children.append(bottom)
        if self.levels > 1:
            x1 = self.tree1(x)
            children.append(x1)
            return self.tree2(x1, children)
        x1 = self.tree1(x, self.project(bottom))
        x2 = self.tree2(x1)
        return self.root([x2, x1, *children])


def conv_level(i: int, o: int, count: int, stride: int) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU, over and over; the first one strides."""
    parts: list[nn.Module] = []
    for k in range(count):
        conv = nn.Conv2d(o if k else i, o, 3, 1 if k else stride, 1, bias=False)
        parts += [conv, nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


class DLA(nn.Module):
    """A classifier."""

    level2: nn.Module
    level3: nn.Module
    level4: nn.Module
    level5: nn.Module

    def __init__(self, widths: Sequence[int] = WIDTHS, levels: Sequence[int] = LEVELS, classes: int = 1000) -> None:
        super().__init__()
        c = widths
        stem = nn.Conv2d(3, c[0], 7, 1, 3, bias=False)
        self.base_layer = nn.Sequential(stem, nn.BatchNorm2d(c[0]), nn.ReLU(inplace=True))
        self.level0 = conv_level(c[0], c[0], levels[0], 1)
        self.level1 = conv_level(c[0], c[1], levels[1], 2)
        for n in range(2, 6):
            setattr(self, f"level{n}", Tree(levels[n], c[n - 1], c[n], 2, level_root=n > 2))
        self.global_pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Conv2d(c[-1], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.level1(self.level0(self.base_layer(x)))
        x = self.level5(self.level4(self.level3(self.level2(x))))
        return self.fc(self.global_pool(x)).flatten(1)
