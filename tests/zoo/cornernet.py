"""Hourglass-104 of CornerNet and CenterNet: residual blocks of their names, heads of corners or of centres."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

DIMS, MODULES = (256, 256, 384, 384, 384, 512), (2, 2, 2, 2, 2, 4)


class Convolution(nn.Module):
    """Convolution, BatchNorm or nothing, ReLU."""

    def __init__(self, k: int, i: int, o: int, stride: int = 1, with_bn: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, stride, (k - 1) // 2, bias=not with_bn)
        self.bn = nn.BatchNorm2d(o) if with_bn else nn.Sequential()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Residual(nn.Module):
    """Two 3x3 convolutions and a `skip`."""

    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        same = stride == 1 and i == o
        self.skip = nn.Sequential(*([] if same else [nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)]))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        bn2 = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        skip = self.skip(x)
        return self.relu(bn2 + skip)


class MergeUp(nn.Module):
    """The sum as a module."""

    def forward(self, up1: Tensor, up2: Tensor) -> Tensor:
        return up1 + up2


class Level(nn.Module):
    """One level of an hourglass and those below; its pool is empty, for `low1` strides."""

    def __init__(self, n: int, dims: Sequence[int], modules: Sequence[int]) -> None:
        super().__init__()
        (c, k), m = dims[:2], modules[0]
        self.n = n
        self.up1 = nn.Sequential(*(Residual(c, c) for _ in range(m)))
        self.max1 = nn.Sequential()
        self.low1 = nn.Sequential(Residual(c, k, 2), *(Residual(k, k) for _ in range(1, m)))
        below = (Residual(k, k) for _ in range(modules[1]))
        self.low2 = Level(n - 1, dims[1:], modules[1:]) if n > 1 else nn.Sequential(*below)
        self.low3 = nn.Sequential(*(Residual(k, k) for _ in range(m - 1)), Residual(k, c))
        self.up2, self.merge = nn.Upsample(scale_factor=2), MergeUp()

    def forward(self, x: Tensor) -> Tensor:
        up1 = self.up1(x)
        low1 = self.low1(self.max1(x))
        return self.merge(up1, self.up2(self.low3(self.low2(low1))))


class Trunk(nn.Module):
    """Two stacks."""

    def __init__(self, dims: Sequence[int] = DIMS, modules: Sequence[int] = MODULES, stacks: int = 2) -> None:
        super().__init__()
        self.nstack, c = stacks, dims[0]
        between = range(stacks - 1)

        def merges() -> nn.ModuleList:
            return nn.ModuleList(nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)) for _ in between)

        self.pre = nn.Sequential(Convolution(7, 3, c // 2, 2), Residual(c // 2, c, 2))
        self.kps = nn.ModuleList(Level(len(dims) - 1, dims, modules) for _ in range(stacks))
        self.cnvs = nn.ModuleList(Convolution(3, c, c) for _ in range(stacks))
        self.inters = nn.ModuleList(Residual(c, c) for _ in between)
        self.inters_, self.cnvs_, self.relu = merges(), merges(), nn.ReLU(inplace=True)

    def heads(self, i: int, cnv: Tensor) -> dict[str, Tensor]:
        """Results of stack i."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        inter, outs = self.pre(image), []
        for i in range(self.nstack):
            cnv = self.cnvs[i](self.kps[i](inter))
            outs.append(self.heads(i, cnv))
            if i < self.nstack - 1:
                inter = self.relu(self.inters_[i](inter) + self.cnvs_[i](cnv))
                inter = self.inters[i](inter)
        return outs


def head(c: int, out: int) -> nn.Sequential:
    return nn.Sequential(Convolution(3, c, c, with_bn=False), nn.Conv2d(c, out, 1))


class CenterNet(Trunk):
    """Heads of centres, each an attribute of its name."""

    HEADS = {"hm": 80, "wh": 2, "reg": 2}

    def __init__(self, dims: Sequence[int] = DIMS, modules: Sequence[int] = MODULES, stacks: int = 2) -> None:
        super().__init__(dims, modules, stacks)
        for name, out in self.HEADS.items():
            setattr(self, name, nn.ModuleList(head(dims[0], out) for _ in range(stacks)))

    def heads(self, i: int, cnv: Tensor) -> dict[str, Tensor]:
        return {name: getattr(self, name)[i](cnv) for name in self.HEADS}


class Running(nn.Module):
    """A running maximum from one side to the other: "top", "left", "bottom" or "right"."""

    def __init__(self, side: str) -> None:
        super().__init__()
        self.dim, self.turned = 2 if side in ("top", "bottom") else 3, side in ("top", "left")

    def forward(self, x: Tensor) -> Tensor:
        if not self.turned:
            return x.cummax(self.dim).values
        return x.flip(self.dim).cummax(self.dim).values.flip(self.dim)


class CornerPool(nn.Module):
    """Two running maxima of two branches, added."""

    def __init__(self, c: int, first: str, second: str) -> None:
        super().__init__()
        half = c // 2
        self.p1_conv1, self.p2_conv1 = Convolution(3, c, half), Convolution(3, c, half)
        self.p_conv1, self.p_bn1 = nn.Conv2d(half, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.conv1, self.bn1 = nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)
        self.relu1, self.conv2 = nn.ReLU(inplace=True), Convolution(3, c, c)
        self.pool1, self.pool2 = Running(first), Running(second)

    def forward(self, x: Tensor) -> Tensor:
        pool1 = self.pool1(self.p1_conv1(x))
        pool2 = self.pool2(self.p2_conv1(x))
        p_bn1 = self.p_bn1(self.p_conv1(pool1 + pool2))
        bn1 = self.bn1(self.conv1(x))
        return self.conv2(self.relu1(p_bn1 + bn1))


class CornerNet(Trunk):
    """Heads of two kinds of corners."""

    CORNERS = {"tl": ("top", "left"), "br": ("bottom", "right")}
    HEADS = {"heats": 80, "tags": 1, "regrs": 2}

    def __init__(self, dims: Sequence[int] = DIMS, modules: Sequence[int] = MODULES, stacks: int = 2) -> None:
        super().__init__(dims, modules, stacks)
        for corner, sides in self.CORNERS.items():
            pools = (CornerPool(dims[0], *sides) for _ in range(stacks))
            setattr(self, f"{corner}_cnvs", nn.ModuleList(pools))
            for name, out in self.HEADS.items():
                setattr(self, f"{corner}_{name}", nn.ModuleList(head(dims[0], out) for _ in range(stacks)))

    def heads(self, i: int, cnv: Tensor) -> dict[str, Tensor]:
        results: dict[str, Tensor] = {}
        for corner in self.CORNERS:
            pooled = getattr(self, f"{corner}_cnvs")[i](cnv)
            results |= {f"{corner}_{name}": getattr(self, f"{corner}_{name}")[i](pooled) for name in self.HEADS}
        return results
