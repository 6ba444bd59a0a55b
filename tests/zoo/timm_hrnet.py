"""HRNet in timm's layout: a classifier whose modules take and give lists, with identities where nothing is to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.resnet import shortcut

HEAD = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """With the hooks for regularisers that stay empty."""

    expansion = 1

    def __init__(self, i: int, planes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.drop_block, self.act1, self.aa = nn.Identity(), nn.ReLU(inplace=True), nn.Identity()
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.se, self.act2, self.downsample, self.drop_path = None, nn.ReLU(inplace=True), None, None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.aa(self.act1(self.drop_block(self.bn1(self.conv1(x)))))
        x = self.bn2(self.conv2(x))
        x += shortcut
        return self.act2(x)


class Bottleneck(nn.Module):
    """The same with three convolutions."""

    expansion = 4

    def __init__(self, i: int, planes: int) -> None:
        super().__init__()
        o = 4 * planes
        self.conv1, self.bn1, self.act1 = nn.Conv2d(i, planes, 1, bias=False), nn.BatchNorm2d(planes), nn.ReLU(True)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.drop_block, self.act2, self.aa = nn.Identity(), nn.ReLU(inplace=True), nn.Identity()
        self.conv3, self.bn3, self.se = nn.Conv2d(planes, o, 1, bias=False), nn.BatchNorm2d(o), None
        self.act3, self.downsample, self.drop_path = nn.ReLU(inplace=True), shortcut(i, o, 1), None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.aa(self.act2(self.drop_block(self.bn2(self.conv2(x)))))
        x = self.bn3(self.conv3(x))
        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        x += shortcut
        return self.act3(x)


def conv_norm(i: int, o: int, k: int = 3, stride: int = 1, act: bool = True, bias: bool = False) -> nn.Sequential:
    """Convolution, BatchNorm and, if asked for, ReLU."""
    parts: list[nn.Module] = [nn.Conv2d(i, o, k, stride, k // 2, bias=bias), nn.BatchNorm2d(o)]
    return nn.Sequential(*parts, *([nn.ReLU(inplace=True)] if act else []))


def exchange(widths: Sequence[int], i: int, j: int) -> nn.Module:
    """From branch j to branch i."""
    if j == i:
        return nn.Identity()
    if j > i:
        up = nn.Upsample(scale_factor=2 ** (j - i), mode="nearest")
        return nn.Sequential(*conv_norm(widths[j], widths[i], 1, act=False), up)
    chain = (conv_norm(widths[j], widths[j], stride=2) for _ in range(i - j - 1))
    return nn.Sequential(*chain, conv_norm(widths[j], widths[i], stride=2, act=False))


class HighResolutionModule(nn.Module):
    """Branches and their exchange."""

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        n = range(len(widths))
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c, c) for _ in range(blocks))) for c in widths)
        self.fuse_layers = nn.ModuleList(nn.ModuleList(exchange(widths, i, j) for j in n) for i in n)
        self.fuse_act = nn.ReLU(False)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        for i, branch in enumerate(self.branches):
            x[i] = branch(x[i])
        fused = []
        layers: Any
        for layers in self.fuse_layers:
            y: Tensor | None = None
            for j, layer in enumerate(layers):
                y = layer(x[j]) if y is None else y + layer(x[j])
            fused.append(self.fuse_act(y))
        return fused


class SequentialList(nn.Sequential):
    """A Sequential of modules that take lists."""

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        for module in self:
            x = module(x)
        return x


def transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """To other widths, and to one more branch."""
    parts: list[nn.Module] = []
    for i, c in enumerate(after):
        if i < len(before):
            parts.append(conv_norm(before[i], c) if before[i] != c else nn.Identity())
        else:
            parts.append(nn.Sequential(conv_norm(before[-1], c, stride=2)))
    return nn.ModuleList(parts)


def bottlenecks(i: int, planes: int, count: int) -> nn.Sequential:
    return nn.Sequential(Bottleneck(i, planes), *(Bottleneck(4 * planes, planes) for _ in range(1, count)))


class HighResolutionNet(nn.Module):
    """The classifier: the branches' ends are widened, brought together downwards, and averaged."""

    transition1: nn.ModuleList
    transition2: nn.ModuleList
    transition3: nn.ModuleList
    stage2: nn.Module
    stage3: nn.Module
    stage4: nn.Module

    def __init__(
        self, width: int = 32, modules: Sequence[int] = (1, 4, 3), blocks: int = 4, stem: int = 64,
        head: Sequence[int] = HEAD, classes: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(True)
        self.conv2, self.bn2 = nn.Conv2d(stem, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem)
        self.act2, self.layer1 = nn.ReLU(inplace=True), bottlenecks(stem, stem, blocks)
        before: list[int] = [4 * stem]
        for stage, count in enumerate(modules, 2):
            widths = [width << branch for branch in range(stage)]
            setattr(self, f"transition{stage - 1}", transition(before, widths))
            setattr(
                self, f"stage{stage}", SequentialList(*(HighResolutionModule(widths, blocks) for _ in range(count)))
            )
            before = widths
        self.incre_modules = nn.ModuleList(bottlenecks(c, planes, 1) for c, planes in zip(before, head, strict=True))
        ends = [4 * planes for planes in head]
        downs = (conv_norm(i, o, stride=2, bias=True) for i, o in zip(ends, ends[1:], strict=False))
        self.downsamp_modules = nn.ModuleList(downs)
        self.final_layer = conv_norm(ends[-1], 2 * ends[-1], 1, bias=True)
        self.classifier = nn.Linear(2 * ends[-1], classes)

    def stages(self, x: Tensor) -> list[Tensor]:
        y = [t(x) for t in self.transition1]
        y = self.stage2(y)
        y = [t(y[-1]) if not isinstance(t, nn.Identity) else y[i] for i, t in enumerate(self.transition2)]
        y = self.stage3(y)
        y = [t(y[-1]) if not isinstance(t, nn.Identity) else y[i] for i, t in enumerate(self.transition3)]
        return self.stage4(y)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(x)))
        ends = self.stages(self.layer1(x))
        y: Tensor | None = None
        for i, module in enumerate(self.incre_modules):
            y = module(ends[i]) if y is None else module(ends[i]) + self.downsamp_modules[i - 1](y)
        y = F.adaptive_avg_pool2d(self.final_layer(y), 1)
        return self.classifier(y.flatten(1))
