"""What the tests of frozen networks of any form share: freezing, comparing, and a network of many resolutions."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

import hgfast
from hgfast import FrozenModel
from hgfast.frozen.graph import Graph
from hgfast.frozen.torch_call import TorchCall
from tests.recipe import apply_recipe
from tests.tolerances import relative_error
from tests.zoo.resnet import BasicBlock


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
        return [
            nn.Conv2d(c, k, 3, stride, 1, bias=False),
            nn.BatchNorm2d(k),
            *([nn.ReLU(inplace=True)] if relu else []),
        ]

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


def assert_frozen_alike(model: nn.Module, frozen: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        expected, kind = tree_flatten(copy.deepcopy(model).eval().double()(images.double()))
    before = images.clone()
    got, same_kind = tree_flatten(frozen(images))
    assert kind == same_kind and torch.equal(images, before)
    for a, b in zip(got, expected, strict=True):
        if isinstance(b, Tensor):
            assert relative_error(a, b) < 1e-5 if b.is_floating_point() else torch.equal(a, b)
        else:
            assert a == b


def frozen_of(module: nn.Module) -> tuple[nn.Module, FrozenModel]:
    module = apply_recipe(module, 3).eval()
    return module, hgfast.freeze(module)


def kinds(graph: Graph) -> list[str]:
    return [call.what if isinstance(call, TorchCall) else type(call).__name__ for call in graph.calls]
