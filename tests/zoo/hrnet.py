"""HRNet in MMPose's layout: branches of falling resolution that exchange what they have found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tests.zoo.resnet import BasicBlock, Bottleneck


def conv_norm(i: int, o: int, k: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution, BatchNorm and, if asked for, ReLU."""
    parts: list[nn.Module] = [nn.Conv2d(i, o, k, stride, k // 2, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*parts, *([nn.ReLU(inplace=True)] if relu else []))


def exchange(widths: Sequence[int], i: int, j: int) -> Any:
    """From branch j to branch i: up by repeating, or down by a chain of strided convolutions; nothing for itself."""
    if j == i:
        return None
    if j > i:
        up = nn.Upsample(scale_factor=2 ** (j - i), mode="nearest")
        return nn.Sequential(*conv_norm(widths[j], widths[i], 1, relu=False), up)
    chain = (conv_norm(widths[j], widths[j], stride=2) for _ in range(i - j - 1))
    return nn.Sequential(*chain, conv_norm(widths[j], widths[i], stride=2, relu=False))


class HRModule(nn.Module):
    """Branches, then an exchange of each with each."""

    def __init__(self, widths: Sequence[int], blocks: int, multiscale: bool = True) -> None:
        super().__init__()
        n = len(widths)
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c, c) for _ in range(blocks))) for c in widths)
        outputs = range(n if multiscale else 1)
        self.fuse_layers = nn.ModuleList(nn.ModuleList(exchange(widths, i, j) for j in range(n)) for i in outputs)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        for i, branch in enumerate(self.branches):
            x[i] = branch(x[i])
        fused = []
        layers: Any
        for i, layers in enumerate(self.fuse_layers):
            y: Any = 0
            for j, layer in enumerate(layers):
                y += x[j] if i == j else layer(x[j])
            fused.append(self.relu(y))
        return fused


def transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """To other widths, and to one more branch."""
    parts: list[Any] = []
    for i, c in enumerate(after):
        if i < len(before):
            parts.append(conv_norm(before[i], c) if before[i] != c else None)
        else:
            parts.append(nn.Sequential(conv_norm(before[-1], c, stride=2)))
    return nn.ModuleList(parts)


class HRNet(nn.Module):
    """Four stages; gives the branch of the highest resolution."""

    def __init__(self, width: int = 32, modules: Sequence[int] = (1, 4, 3), blocks: int = 4, stem: int = 64) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem)
        self.conv2, self.bn2 = nn.Conv2d(stem, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Bottleneck(stem, stem), *(Bottleneck(4 * stem, stem) for _ in range(1, blocks)))
        before: list[int] = [4 * stem]
        for stage, count in enumerate(modules, 2):
            widths = [width << branch for branch in range(stage)]
            setattr(self, f"transition{stage - 1}", transition(before, widths))
            last = stage == len(modules) + 1
            parts = (HRModule(widths, blocks, not last or k < count - 1) for k in range(count))
            setattr(self, f"stage{stage}", nn.Sequential(*parts))
            before = widths
        self.stages = range(2, len(modules) + 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        y = [self.layer1(x)]
        for stage in self.stages:
            layers = getattr(self, f"transition{stage - 1}")
            y = [
                y[min(i, len(y) - 1)] if layer is None else layer(y[min(i, len(y) - 1)])
                for i, layer in enumerate(layers)
            ]
            y = getattr(self, f"stage{stage}")(y)
        return y


class HeatmapHead(nn.Module):
    """One 1x1 convolution."""

    def __init__(self, c: int, joints: int) -> None:
        super().__init__()
        self.final_layer = nn.Conv2d(c, joints, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.final_layer(features[-1])


class PoseHRNet(nn.Module):
    """Backbone and head, as MMPose's estimators have them."""

    def __init__(
        self, width: int = 32, modules: Sequence[int] = (1, 4, 3), blocks: int = 4, stem: int = 64, joints: int = 17
    ) -> None:
        super().__init__()
        self.backbone, self.head = HRNet(width, modules, blocks, stem), HeatmapHead(width, joints)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))
