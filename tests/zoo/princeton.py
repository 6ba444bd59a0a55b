"""princeton-vl's pytorch_stacked_hourglass: Newell's network, channels last at its door."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conv(nn.Module):
    """princeton-vl's (models/layers.py)."""

    def __init__(
        self, inp_dim: int, out_dim: int, kernel_size: int = 3, stride: int = 1, bn: bool = False, relu: bool = True
    ) -> None:
        super().__init__()
        self.inp_dim = inp_dim
        self.conv = nn.Conv2d(inp_dim, out_dim, kernel_size, stride, padding=(kernel_size - 1) // 2, bias=True)
        self.relu = nn.ReLU() if relu else None
        self.bn = nn.BatchNorm2d(out_dim) if bn else None

    def forward(self, x: Tensor) -> Tensor:
        assert x.size()[1] == self.inp_dim, f"{x.size()[1]} {self.inp_dim}"
        x = self.conv(x)
        x = x if self.bn is None else self.bn(x)
        return x if self.relu is None else self.relu(x)


class Residual(nn.Module):
    """princeton-vl's."""

    def __init__(self, inp_dim: int, out_dim: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.bn1 = nn.BatchNorm2d(inp_dim)
        self.conv1 = Conv(inp_dim, out_dim // 2, 1, relu=False)
        self.bn2 = nn.BatchNorm2d(out_dim // 2)
        self.conv2 = Conv(out_dim // 2, out_dim // 2, 3, relu=False)
        self.bn3 = nn.BatchNorm2d(out_dim // 2)
        self.conv3 = Conv(out_dim // 2, out_dim, 1, relu=False)
        self.skip_layer = Conv(inp_dim, out_dim, 1, relu=False)
        self.need_skip = inp_dim != out_dim

    def forward(self, x: Tensor) -> Tensor:
        residual = self.skip_layer(x) if self.need_skip else x
        out = self.conv1(self.relu(self.bn1(x)))
        out = self.conv2(self.relu(self.bn2(out)))
        out = self.conv3(self.relu(self.bn3(out)))
        out += residual
        return out


class Hourglass(nn.Module):
    """princeton-vl's."""

    def __init__(self, n: int, f: int, increase: int = 0) -> None:
        super().__init__()
        nf = f + increase
        self.up1 = Residual(f, f)
        self.pool1 = nn.MaxPool2d(2, 2)
        self.low1 = Residual(f, nf)
        self.n = n
        self.low2 = Hourglass(n - 1, nf) if n > 1 else Residual(nf, nf)
        self.low3 = Residual(nf, f)
        self.up2 = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        up1 = self.up1(x)
        return up1 + self.up2(self.low3(self.low2(self.low1(self.pool1(x)))))


class Merge(nn.Module):
    """princeton-vl's."""

    def __init__(self, x_dim: int, y_dim: int) -> None:
        super().__init__()
        self.conv = Conv(x_dim, y_dim, 1, relu=False, bn=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class PoseNet(nn.Module):
    """princeton-vl's; the stem's widths and the depth are free."""

    def __init__(
        self,
        nstack: int = 2,
        f: int = 12,
        keypoints: int = 5,
        increase: int = 0,
        stem: tuple[int, int] = (6, 8),
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.nstack = nstack
        a, b = stem
        self.pre = nn.Sequential(
            Conv(3, a, 7, 2, bn=True), Residual(a, b), nn.MaxPool2d(2, 2), Residual(b, b), Residual(b, f)
        )
        self.hgs = nn.ModuleList(nn.Sequential(Hourglass(depth, f, increase)) for _ in range(nstack))
        self.features = nn.ModuleList(nn.Sequential(Residual(f, f), Conv(f, f, 1, bn=True)) for _ in range(nstack))
        self.outs = nn.ModuleList(Conv(f, keypoints, 1, relu=False) for _ in range(nstack))
        self.merge_features = nn.ModuleList(Merge(f, f) for _ in range(nstack - 1))
        self.merge_preds = nn.ModuleList(Merge(keypoints, f) for _ in range(nstack - 1))

    def forward(self, imgs: Tensor) -> Tensor:
        x, combined = self.pre(imgs.permute(0, 3, 1, 2)), []
        for i in range(self.nstack):
            feature = self.features[i](self.hgs[i](x))
            combined.append(self.outs[i](feature))
            if i < self.nstack - 1:
                x = x + self.merge_preds[i](combined[i]) + self.merge_features[i](feature)
        return torch.stack(combined, 1)


def hg8() -> nn.Module:
    """Newell's eight stacks for 16 joints."""
    return PoseNet(8, 256, 16, stem=(64, 128))
