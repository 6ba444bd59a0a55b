"""Associative embedding's hourglass of plain 3x3 convolutions: ReLU before BatchNorm (pose-ae), and after (MMPose)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

Conv = Callable[..., nn.Module]


class ReluThenNorm(nn.Module):
    """pose-ae-train's order: convolution, ReLU, BatchNorm."""

    def __init__(self, i: int, o: int, k: int = 3, stride: int = 1, norm: bool = True, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, stride, (k - 1) // 2)
        self.relu, self.bn = nn.ReLU() if relu else None, nn.BatchNorm2d(o) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x if self.relu is None else self.relu(x)
        return x if self.bn is None else self.bn(x)


class NormThenRelu(nn.Module):
    """mmcv's order."""

    def __init__(self, i: int, o: int, k: int = 3, stride: int = 1, norm: bool = True, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, stride, (k - 1) // 2, bias=not norm)
        self.bn, self.activate = nn.BatchNorm2d(o) if norm else None, nn.ReLU(inplace=True) if relu else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x if self.bn is None else self.bn(x)
        return x if self.activate is None else self.activate(x)


class Hourglass(nn.Module):
    """One convolution a branch; wider at each level."""

    def __init__(self, conv: Conv, widths: Sequence[int]) -> None:
        super().__init__()
        c, k = widths[:2]
        self.up1, self.pool1, self.low1 = conv(c, c), nn.MaxPool2d(2, 2), conv(c, k)
        self.low2 = Hourglass(conv, widths[1:]) if len(widths) > 2 else conv(k, k)
        self.low3, self.up2 = conv(k, c), nn.UpsamplingNearest2d(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        up1 = self.up1(x)
        return up1 + self.up2(self.low3(self.low2(self.low1(self.pool1(x)))))


class AssociativeNet(nn.Module):
    """Heatmaps and tags of all joints from each stack."""

    def __init__(
        self, conv: Conv, stacks: int = 4, widths: Sequence[int] = (256, 384, 512, 640, 768), out: int = 68
    ) -> None:
        super().__init__()
        c = widths[0]
        half, between = c // 2, range(stacks - 1)
        self.pre = nn.Sequential(
            conv(3, c // 4, 7, 2), conv(c // 4, half), nn.MaxPool2d(2, 2), conv(half, half), conv(half, c)
        )
        plain = {"norm": False}
        parts = ((Hourglass(conv, widths), conv(c, c, **plain), conv(c, c, **plain)) for _ in range(stacks))
        self.features = nn.ModuleList(nn.Sequential(*three) for three in parts)
        last = {"norm": False, "relu": False}
        self.outs = nn.ModuleList(conv(c, out, 1, **last) for _ in range(stacks))
        self.merge_features = nn.ModuleList(conv(c, c, 1, **last) for _ in between)
        self.merge_preds = nn.ModuleList(conv(out, c, 1, **last) for _ in between)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, results = self.pre(x), []
        for i in range(len(self.features)):
            feature = self.features[i](x)
            results.append(self.outs[i](feature))
            if i < len(self.features) - 1:
                x = x + self.merge_preds[i](results[i]) + self.merge_features[i](feature)
        return results
