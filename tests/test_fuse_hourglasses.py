"""Hourglasses as others write them: fused ones give what they gave, to callers and to hooks, at the same sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hgfast
from tests.look_alikes import Block
from tests.same_behaviour import assert_same, images, pair_of


class Hourglass(nn.Module):
    """One level, of any branches."""

    def __init__(self, up1: nn.Module | None = None, up2: nn.Module | None = None, c: int = 4) -> None:
        super().__init__()
        self.up1 = nn.Sequential(nn.Conv2d(c, c, 3, padding=1)) if up1 is None else up1
        self.low1, self.low2, self.low3 = (nn.Conv2d(c, c, 3, padding=1) for _ in range(3))
        self.pool1, self.up2 = nn.MaxPool2d(2, 2), nn.Upsample(scale_factor=2) if up2 is None else up2

    def forward(self, x: Tensor) -> Tensor:
        return self.up1(x) + self.up2(self.low3(self.low2(self.low1(self.pool1(x)))))


class Resized(Hourglass):
    """Brings the lower branch to any size, as MMDetection's does."""

    def forward(self, x: Tensor) -> Tensor:
        up1 = self.up1(x)
        return up1 + F.interpolate(self.low3(self.low2(self.low1(self.pool1(x)))), size=up1.shape[2:])


class Strided(Hourglass):
    """Halves the size by a convolution, as MMPose's does."""

    def __init__(self, up1: nn.Module | None = None) -> None:
        super().__init__(up1)
        self.low1 = nn.Conv2d(4, 4, 3, 2, 1)
        del self.pool1

    def forward(self, x: Tensor) -> Tensor:
        return self.up1(x) + self.up2(self.low3(self.low2(self.low1(x))))


class LowFirst(Hourglass):
    """Runs its branches in another order."""

    def forward(self, x: Tensor) -> Tensor:
        low = self.up2(self.low3(self.low2(self.low1(self.pool1(x)))))
        return low + self.up1(x)


class Same(nn.Module):
    """Gives its input, as a class of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def same(got: nn.Module, expected: nn.Module, x: Tensor) -> None:
    """Results with and without gradient, what happens to the input, gradients."""
    for module in (got, expected):
        module.zero_grad()
    with torch.no_grad():
        inputs = x.clone(), x.clone()
        torch.testing.assert_close(got(inputs[0]), expected(inputs[1]), rtol=1e-4, atol=1e-5)
        assert torch.equal(*inputs)
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    results = [module(leaf * 1) for module, leaf in zip((got, expected), leaves, strict=True)]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
    for y in results:
        y.square().sum().backward()
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-3, atol=1e-3)


BRANCHES: dict[str, Callable[[], nn.Module]] = {
    "empty": nn.Sequential,
    "identity of a class": Same,
    "dropout": lambda: nn.Dropout(0.1),
    "in place": lambda: nn.ReLU(inplace=True),
    "in place behind nothing": lambda: nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)),
    "block": lambda: Block(),
    "look-alike": lambda: nn.Sequential(Same(), nn.Conv2d(4, 4, 1)),
}


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("kind", [Hourglass, Strided, LowFirst])
def test_hourglass_leaves_the_callers_tensor(kind: type[Hourglass], branch: str) -> None:
    plain = kind(BRANCHES[branch]()).eval()
    fused = hgfast.fuse(copy.deepcopy(plain))
    assert isinstance(fused, kind) and " convolutions" in fused.fusion.replaced[""]
    if branch.startswith("in place"):  # the order of the branches matters, and whether autograd refuses it
        assert_same(*(module.double() for module in (fused, plain)), images(2, 4, 8, 6))
        return
    same(fused, plain, torch.randn(2, 4, 8, 6))
    if branch != "dropout":
        same(fused.train(), plain.train(), torch.randn(2, 4, 8, 6))


@pytest.mark.parametrize("when", ["before", "after"])
def test_hook_on_a_branch_keeps_what_the_branch_gave(when: str) -> None:
    plain = Hourglass().eval()
    model, seen = copy.deepcopy(plain), []
    for moment in ("before", "after"):
        if moment == when:
            model.up1.register_forward_hook(lambda module, args, out: seen.append(out))
        if moment == "before":
            model = hgfast.fuse(model)
    assert not seen
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        model(x)
        torch.testing.assert_close(seen[0], plain.up1(x))
        assert len(seen) == 1


class Nested(Hourglass):
    """Reads what its children are."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return 2 * y if isinstance(self.low2, nn.Conv2d) else y


class Scaled(Hourglass):
    """Scales one branch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.up1(x) + 0.5 * self.up2(self.low3(self.low2(self.low1(self.pool1(x)))))


class Dropping(Hourglass):
    """Drops elements of the sum."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.1, self.training)


class Keeping(Hourglass):
    """Keeps what it pools."""

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.pool1(x)
        return self.up1(x) + self.up2(self.low3(self.low2(self.low1(self.kept))))


@pytest.mark.parametrize("kind", [Nested, Scaled, Dropping, Keeping])
def test_other_hourglasses_compute_what_they_computed(kind: type[Hourglass]) -> None:
    plain, fused = pair_of(nn.Sequential(kind()))
    assert_same(hgfast.fuse(fused), plain, images(2, 4, 8, 6))
    if kind is Keeping:
        assert torch.equal(fused[0].kept, plain[0].kept)


@pytest.mark.parametrize("size", [(15, 12), (12, 15), (9, 9)])
@pytest.mark.parametrize("kind", [Hourglass, Strided])
def test_sizes_that_eager_refuses_are_refused(kind: type[Hourglass], size: tuple[int, int]) -> None:
    fused = hgfast.fuse(nn.Sequential(kind()))
    assert "1 merge" in fused.fusion.replaced["0"]
    x = torch.randn(1, 4, *size)
    with pytest.raises(RuntimeError, match="must match the size"):
        fused(x)
    with pytest.raises(RuntimeError, match="must match the size"):
        hgfast.unfuse(fused)(x)


def test_sizes_that_eager_takes_are_taken() -> None:
    for kind, size in ((Resized, (15, 11)), (Strided, (1, 1)), (Strided, (1, 6)), (Hourglass, (6, 2))):
        plain = kind()
        fused = hgfast.fuse(nn.Sequential(copy.deepcopy(plain)))
        assert "4 convolutions" in fused.fusion.replaced["0"]
        same(fused, plain, torch.randn(2, 4, *size))


class Asserting(nn.Module):
    """A convolution that asks for the right number of channels, as princeton-vl's does."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.i, self.body = i, nn.Conv2d(i, o, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert x.size(1) == self.i, f"{x.size(1)} {self.i}"
        return self.body(x)


def test_branches_of_other_widths_in_another_order() -> None:
    model = Hourglass()
    for name, widths in {"low2": (6, 6), "low3": (6, 4), "low1": (4, 6), "up1": (4, 4)}.items():
        model._modules.pop(name)
        model.add_module(name, Asserting(*widths))
    plain = copy.deepcopy(model)
    fused = hgfast.fuse(model)
    same(fused, plain, torch.randn(1, 4, 8, 8))
