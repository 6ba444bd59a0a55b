"""Networks of many forms: torchvision's residual ones, and small ones with one peculiarity each."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.recipe import apply_recipe


def conv3x3(c: int, k: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c, k, 3, stride, 1, groups=groups, bias=False)


class BasicBlock(nn.Module):
    """torchvision's."""

    expansion = 1

    def __init__(self, c: int, k: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = conv3x3(c, k, stride), nn.BatchNorm2d(k), nn.ReLU(inplace=True)
        self.conv2, self.bn2, self.downsample = conv3x3(k, k), nn.BatchNorm2d(k), downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """torchvision's."""

    expansion = 4

    def __init__(self, c: int, k: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, k, 1, bias=False), nn.BatchNorm2d(k)
        self.conv2, self.bn2 = conv3x3(k, k, stride), nn.BatchNorm2d(k)
        self.conv3, self.bn3 = nn.Conv2d(k, 4 * k, 1, bias=False), nn.BatchNorm2d(4 * k)
        self.relu, self.downsample = nn.ReLU(inplace=True), downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """torchvision's, narrow."""

    def __init__(self, block: Any, counts: Sequence[int], width: int = 4, classes: int | None = 5) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.layers, c = nn.ModuleList(), width
        for i, count in enumerate(counts):
            k, stride, blocks = width << i, 1 + (i > 0), []
            for j in range(count):
                out, s, down = k * block.expansion, stride if j == 0 else 1, None
                if s != 1 or c != out:
                    down = nn.Sequential(nn.Conv2d(c, out, 1, s, bias=False), nn.BatchNorm2d(out))
                blocks.append(block(c, k, s, down))
                c = out
            self.layers.append(nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(c, classes or 1)
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for layer in self.layers:
            x = layer(x)
        return x if self.classes is None else self.fc(torch.flatten(self.avgpool(x), 1))


class SimpleBaseline(nn.Module):
    """ResNet and three deconvolutions."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.backbone, c, layers = ResNet(BasicBlock, (1, 1, 1, 1), 4, None), 32, list[nn.Module]()
        for _ in range(3):
            layers += [nn.ConvTranspose2d(c, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            c = width
        self.deconv, self.final = nn.Sequential(*layers), nn.Conv2d(width, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.final(self.deconv(self.backbone(x)))


class FanBlock(nn.Module):
    """FAN's hierarchical block of pre-activation convolutions, concatenated."""

    def __init__(self, c: int, k: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(c), conv3x3(c, k // 2)
        self.bn2, self.conv2 = nn.BatchNorm2d(k // 2), conv3x3(k // 2, k // 4)
        self.bn3, self.conv3 = nn.BatchNorm2d(k // 4), conv3x3(k // 4, k // 4)
        self.downsample = None
        if c != k:
            self.downsample = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(True), nn.Conv2d(c, k, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        out1 = self.conv1(F.relu(self.bn1(x), True))
        out2 = self.conv2(F.relu(self.bn2(out1), True))
        out3 = self.conv3(F.relu(self.bn3(out2), True))
        out = torch.cat((out1, out2, out3), 1)
        if self.downsample is not None:
            residual = self.downsample(residual)
        out += residual
        return out


class Exchange(nn.Module):
    """HRNet: stem, one stage of as many branches as there are widths, each the sum of all; gives every branch."""

    def __init__(self, widths: Sequence[int] = (4, 6, 8, 10)) -> None:
        super().__init__()
        w = list(widths)
        self.stem = nn.Sequential(*(m for i in range(2) for m in self.unit(4 if i else 3, 4, 2)))
        self.start = nn.ModuleList(
            nn.Sequential(*(m for j in range(i + 1) for m in self.unit(4 if j == 0 else w[i], w[i], 1 + (j > 0))))
            for i in range(len(w))
        )
        self.branches = nn.ModuleList(nn.Sequential(BasicBlock(c, c), BasicBlock(c, c)) for c in w)
        self.fuse = nn.ModuleList(
            nn.ModuleList(self.path(w, i, j) if i != j else nn.Identity() for j in range(len(w))) for i in range(len(w))
        )
        self.relu = nn.ReLU(inplace=True)

    @staticmethod
    def unit(c: int, k: int, stride: int, relu: bool = True) -> list[nn.Module]:
        return [conv3x3(c, k, stride), nn.BatchNorm2d(k), *([nn.ReLU(inplace=True)] if relu else [])]

    def path(self, w: list[int], i: int, j: int) -> nn.Module:
        if j > i:
            up = nn.Upsample(scale_factor=2 ** (j - i), mode="nearest")
            return nn.Sequential(nn.Conv2d(w[j], w[i], 1, bias=False), nn.BatchNorm2d(w[i]), up)
        steps = [self.unit(w[j], w[i] if last else w[j], 2, not last) for last in [*[False] * (i - j - 1), True]]
        return nn.Sequential(*(m for step in steps for m in step))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        xs = [branch(start(x)) for branch, start in zip(self.branches, self.start, strict=True)]
        results = []
        for i in range(len(xs)):
            y = 0
            for j in range(len(xs)):
                y = y + self.fuse[i][j](xs[j])
            results.append(self.relu(y))
        return results


class Of(nn.Module):
    """A few layers and a forward that is given."""

    def __init__(self, forward: Callable[..., Any], c: int = 3) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(c, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.other, self.norm, self.p = nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(2, 6), 0.3
        self.given = forward

    def forward(self, *args: Any) -> Any:
        return self.given(self, *args)


class Pair(nn.Module):
    """Takes and gives containers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(2, 4, 3, padding=1)

    def forward(self, batch: dict[str, Any], scale: float = 2.0, mode: str = "tensor") -> dict[str, Any]:
        if mode != "tensor":
            raise ValueError(mode)
        x, y = self.a(batch["image"]), self.b(batch["more"][0])
        return {"sum": (x + y) * scale, "each": [x, (y,)], "point": Point(x, y)}


Point = namedtuple("Point", "x y")


class Weighed(nn.Conv2d):
    """A convolution whose weight is standardised."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Renamed(nn.Conv2d):
    """torch's own under another name."""


def twice(m: Of, x: Tensor) -> Tensor:
    x = m.relu(m.bn(m.conv(x)))
    return m.other(m.relu(m.other(x)))


def in_place(m: Of, x: Tensor) -> Tensor:
    y = m.conv(x)
    z = y + 1
    y += m.other(y + 0)
    w = m.relu(y)  # y is w
    z.add_(w)
    return z * y


def aliases(m: Of, x: Tensor) -> Tensor:
    y = m.conv(x)
    first = y[:, :3]
    first.mul_(2)
    flat = y.view(y.size(0), -1)
    flat += 1  # y is flat
    return m.other(y)


def functional(m: Of, x: Tensor) -> Tensor:
    y = F.dropout(F.leaky_relu(m.conv(x), 0.1), m.p, m.training)
    y = F.batch_norm(y, m.bn.running_mean, m.bn.running_var, m.bn.weight, m.bn.bias, m.training, 0.1, 1e-3)
    return F.hardswish(y).mean((2, 3))


def sliced(m: Of, x: Tensor) -> Any:
    y = m.norm(m.conv(x))
    a, b = y.chunk(2, dim=1)
    return a, b[..., ::2], {"size": y.shape[-1], "max": y.flatten(2).max(-1)}


def asked(m: Of, x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or torch.is_tensor(m):
        raise TypeError
    y = m.conv(x)
    assert y.dim() == 4 and y.shape[1] == 6, "channels"
    return y if isinstance(y, (list, tuple)) else m.other(y)


def network(make: Callable[[], nn.Module], opaque: bool = False, args: Any = None) -> Callable[[], Any]:
    """The module with numbers that are no identities, its arguments, and whether any of it is left to torch."""
    return lambda: (apply_recipe(make(), 5), args or (torch.randn(2, 3, 32, 64),), opaque)


def spectral() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU())


BATCH = ({"image": torch.randn(1, 3, 4, 4), "more": [torch.randn(1, 2, 4, 4)]},)
NETWORKS: dict[str, Callable[[], Any]] = {
    "resnet18": network(lambda: ResNet(BasicBlock, (2, 2, 2, 2)), True),
    "resnet50": network(lambda: ResNet(Bottleneck, (2, 2, 1, 1)), True),
    "simple_baseline": network(SimpleBaseline),
    "fan": network(lambda: nn.Sequential(conv3x3(3, 8), FanBlock(8, 16), FanBlock(16, 16))),
    "hrnet": network(Exchange),
    "pair": network(Pair, True, BATCH),
    "twice": network(lambda: Of(twice)),
    "in_place": network(lambda: Of(in_place), True),
    "aliases": network(lambda: Of(aliases), True),
    "functional": network(lambda: Of(functional), True),
    "sliced": network(lambda: Of(sliced), True),
    "asked": network(lambda: Of(asked), True),
    "weighed": network(lambda: nn.Sequential(Weighed(3, 4, 3), nn.ReLU()), True),
    "renamed": network(lambda: nn.Sequential(Renamed(3, 4, 3), nn.ReLU())),
    "parametrized": network(spectral, True),
    "depthwise": network(lambda: nn.Sequential(nn.Conv2d(3, 6, 1), conv3x3(6, 6, groups=6), nn.ReLU6())),
    "reflection": network(lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding=2, dilation=2, padding_mode="reflect"))),
    "attention": network(lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.Flatten(2), nn.Linear(2048, 4)), True),
    "one_layer": network(lambda: nn.Conv2d(3, 4, 3), True),
}
