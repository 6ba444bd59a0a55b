"""FAN of face-alignment: hourglasses of hierarchical parallel multi-scale blocks, with average pools."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(i: int, o: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, padding=1, bias=False)


class ConvBlock(nn.Module):
    """Three 3x3 convolutions in a row, whose results side by side are the branch."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), conv3x3(i, o // 2)
        self.bn2, self.conv2 = nn.BatchNorm2d(o // 2), conv3x3(o // 2, o // 4)
        self.bn3, self.conv3 = nn.BatchNorm2d(o // 4), conv3x3(o // 4, o // 4)
        self.downsample: nn.Module | None = None
        if i != o:
            self.downsample = nn.Sequential(nn.BatchNorm2d(i), nn.ReLU(True), nn.Conv2d(i, o, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out1 = self.conv1(F.relu(self.bn1(x), True))
        out2 = self.conv2(F.relu(self.bn2(out1), True))
        out3 = self.conv3(F.relu(self.bn3(out2), True))
        out = torch.cat((out1, out2, out3), 1)
        out += x if self.downsample is None else self.downsample(x)
        return out


class HourGlass(nn.Module):
    """All levels in one module, found by name."""

    def __init__(self, depth: int, features: int) -> None:
        super().__init__()
        self.depth = depth
        for level in range(depth, 0, -1):
            for name in ("b1", "b2", *(["b2_plus"] if level == 1 else []), "b3"):
                self.add_module(f"{name}_{level}", ConvBlock(features, features))

    def level(self, level: int, x: Tensor) -> Tensor:
        """What a level (1 is the lowest) makes of x."""
        up1 = self._modules[f"b1_{level}"](x)  # type: ignore[misc]
        low = self._modules[f"b2_{level}"](F.avg_pool2d(x, 2, stride=2))  # type: ignore[misc]
        low = self.level(level - 1, low) if level > 1 else self._modules["b2_plus_1"](low)  # type: ignore[misc]
        low = self._modules[f"b3_{level}"](low)  # type: ignore[misc]
        return up1 + F.interpolate(low, scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        return self.level(self.depth, x)


class FAN(nn.Module):
    """Stacks whose parts are found by name."""

    def __init__(self, num_modules: int = 4, features: int = 256, points: int = 68, depth: int = 4) -> None:
        super().__init__()
        self.num_modules, half, quarter = num_modules, features // 2, features // 4
        self.conv1, self.bn1 = nn.Conv2d(3, quarter, 7, 2, 3), nn.BatchNorm2d(quarter)
        self.conv2, self.conv3 = ConvBlock(quarter, half), ConvBlock(half, half)
        self.conv4 = ConvBlock(half, features)
        for i in range(num_modules):
            self.add_module(f"m{i}", HourGlass(depth, features))
            self.add_module(f"top_m_{i}", ConvBlock(features, features))
            self.add_module(f"conv_last{i}", nn.Conv2d(features, features, 1))
            self.add_module(f"bn_end{i}", nn.BatchNorm2d(features))
            self.add_module(f"l{i}", nn.Conv2d(features, points, 1))
            if i < num_modules - 1:
                self.add_module(f"bl{i}", nn.Conv2d(features, features, 1))
                self.add_module(f"al{i}", nn.Conv2d(points, features, 1))

    def run(self, name: str, x: Tensor) -> Tensor:
        return self._modules[name](x)  # type: ignore[misc,no-any-return]

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(x)), True)
        x = F.avg_pool2d(self.conv2(x), 2, stride=2)
        previous, outputs = self.conv4(self.conv3(x)), []
        for i in range(self.num_modules):
            top = self.run(f"top_m_{i}", self.run(f"m{i}", previous))
            top = F.relu(self.run(f"bn_end{i}", self.run(f"conv_last{i}", top)), True)
            outputs.append(self.run(f"l{i}", top))
            if i < self.num_modules - 1:
                previous = previous + self.run(f"bl{i}", top) + self.run(f"al{i}", outputs[-1])
        return outputs
