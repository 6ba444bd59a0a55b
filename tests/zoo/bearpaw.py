"""bearpaw's pytorch-pose: Newell's network of pre-activation bottlenecks of torch's usual names; with GroupNorm too."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


def group_norm(c: int) -> nn.Module:
    """Groups of 4 channels."""
    return nn.GroupNorm(c // 4, c)


class Bottleneck(nn.Module):
    """BatchNorm, ReLU, convolution three times over; 2 * planes channels come out."""

    def __init__(self, inplanes: int, planes: int, norm: Norm) -> None:
        super().__init__()
        self.bn1, self.conv1 = norm(inplanes), nn.Conv2d(inplanes, planes, 1)
        self.bn2, self.conv2 = norm(planes), nn.Conv2d(planes, planes, 3, padding=1)
        self.bn3, self.conv3 = norm(planes), nn.Conv2d(planes, 2 * planes, 1)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(nn.Conv2d(inplanes, 2 * planes, 1)) if inplanes != 2 * planes else None

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        out = self.conv1(self.relu(self.bn1(x)))
        out = self.conv2(self.relu(self.bn2(out)))
        out = self.conv3(self.relu(self.bn3(out)))
        if self.downsample is not None:
            residual = self.downsample(x)
        out += residual
        return out


class Hourglass(nn.Module):
    """All levels in one module, which its forward pass walks through."""

    def __init__(self, num_blocks: int, planes: int, depth: int, norm: Norm) -> None:
        super().__init__()
        self.depth = depth

        def residual() -> nn.Module:
            return nn.Sequential(*(Bottleneck(2 * planes, planes, norm) for _ in range(num_blocks)))

        levels = (nn.ModuleList(residual() for _ in range(4 if level == 0 else 3)) for level in range(depth))
        self.hg = nn.ModuleList(levels)

    def level(self, n: int, x: Tensor) -> Tensor:
        """What level n (0 is the lowest) makes of x."""
        parts: nn.ModuleList = self.hg[n]  # type: ignore[assignment]
        up1 = parts[0](x)
        low1 = parts[1](F.max_pool2d(x, 2, stride=2))
        low3 = parts[2](self.level(n - 1, low1) if n > 0 else parts[3](low1))
        up2 = F.interpolate(low3, scale_factor=2)
        return up1 + up2

    def forward(self, x: Tensor) -> Tensor:
        return self.level(self.depth - 1, x)


class HourglassNet(nn.Module):
    """Stacks of hourglasses; planes is half their width."""

    def __init__(
        self, stacks: int = 2, blocks: int = 1, planes: int = 128, joints: int = 16, depth: int = 4,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:  # fmt: skip
        super().__init__()
        c, half = 2 * planes, planes // 2
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, half, 7, 2, 3), norm(half), nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Bottleneck(half, half, norm))
        self.layer2 = nn.Sequential(Bottleneck(planes, planes, norm))
        self.layer3 = nn.Sequential(Bottleneck(c, planes, norm))
        self.maxpool = nn.MaxPool2d(2, stride=2)

        def residual() -> nn.Module:
            return nn.Sequential(*(Bottleneck(c, planes, norm) for _ in range(blocks)))

        def conv(i: int, o: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(i, o, 1) for _ in range(count))

        self.hg = nn.ModuleList(Hourglass(blocks, planes, depth, norm) for _ in range(stacks))
        self.res = nn.ModuleList(residual() for _ in range(stacks))
        self.fc = nn.ModuleList(nn.Sequential(nn.Conv2d(c, c, 1), norm(c), self.relu) for _ in range(stacks))
        self.score, self.fc_, self.score_ = conv(c, joints, stacks), conv(c, c, stacks - 1), conv(joints, c, stacks - 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.maxpool(self.layer1(x))))
        out = []
        for i in range(len(self.hg)):
            y = self.fc[i](self.res[i](self.hg[i](x)))
            score = self.score[i](y)
            out.append(score)
            if i < len(self.hg) - 1:
                x = x + self.fc_[i](y) + self.score_[i](score)
        return out
