"""torchvision's ResNets, SimpleBaseline's pose network on top of one, and a ResNet with squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Scales each channel by what a small network makes of all channels' means."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.relu = nn.Conv2d(c, c // 16, 1), nn.ReLU(inplace=True)
        self.fc2, self.sigmoid = nn.Conv2d(c // 16, c, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(self.fc2(self.relu(self.fc1(self.avg_pool(x)))))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, i: int, planes: int, stride: int = 1, se: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.downsample = shortcut(i, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; the 3x3 convolution strides."""

    expansion = 4

    def __init__(self, i: int, planes: int, stride: int = 1, se: bool = False) -> None:
        super().__init__()
        o = 4 * planes
        self.conv1, self.bn1 = nn.Conv2d(i, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, o, 1, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        if se:
            self.se_module = SqueezeExcite(o)
        self.downsample, self.se = shortcut(i, o, stride), se

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        if self.se:
            out = self.se_module(out)
        out += identity
        return self.relu(out)


def shortcut(i: int, o: int, stride: int) -> nn.Sequential | None:
    """A 1x1 convolution where the sizes change."""
    if i == o and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))


class Features(nn.Module):
    """Stem and four layers."""

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(
        self, block: type[BasicBlock | Bottleneck], layers: Sequence[int], width: int = 64, se: bool = False
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        i = width
        for n, count in enumerate(layers):
            planes, blocks = width << n, []
            for k in range(count):
                blocks.append(block(i, planes, 2 if n and not k else 1, se))
                i = planes * block.expansion
            setattr(self, f"layer{n + 1}", nn.Sequential(*blocks))
        self.out_channels = i

    def features(self, x: Tensor) -> Tensor:
        """What the last layer gives, at a 32nd of the size."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class ResNet(Features):
    """A classifier."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], layers: Sequence[int], width: int = 64, se: bool = False,
        classes: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__(block, layers, width, se)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(self.out_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.avgpool(self.features(x)), 1))


class PoseResNet(Features):
    """SimpleBaseline: three transposed convolutions of 4x4 and stride 2, then the heatmaps."""

    def __init__(self, layers: Sequence[int] = (3, 4, 6, 3), width: int = 64, joints: int = 17) -> None:
        super().__init__(Bottleneck, layers, width)
        up, c, k = [], self.out_channels, 4 * width
        for _ in range(3):
            up += [nn.ConvTranspose2d(c, k, 4, 2, 1, bias=False), nn.BatchNorm2d(k), nn.ReLU(inplace=True)]
            c = k
        self.deconv_layers, self.final_layer = nn.Sequential(*up), nn.Conv2d(k, joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.final_layer(self.deconv_layers(self.features(x)))


def resnet18(width: int = 64, blocks: int = 2, classes: int = 1000) -> nn.Module:
    return ResNet(BasicBlock, (blocks,) * 4, width, classes=classes)


def resnet50(width: int = 64, layers: Sequence[int] = (3, 4, 6, 3), se: bool = False, classes: int = 1000) -> nn.Module:
    return ResNet(Bottleneck, layers, width, se, classes)
