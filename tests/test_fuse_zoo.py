"""Networks as others write them: what their code, hooks and users see after fuse is what they saw before."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hgfast
from hgfast.nn import HourglassModule, NewellHourglass
from tests.foreign_models import BasicBlock, foreign_model, heatmaps
from tests.look_alikes import Block
from tests.small_models import FAMILIES, small_model


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
    if branch.startswith("in place"):  # the order of the branches matters
        assert fused.fusion.left[""] == "hourglass: its part up1 may change its input"
        return
    assert isinstance(fused, (HourglassModule, NewellHourglass))
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
    assert type(model) is NewellHourglass and not seen
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        model(x)
        torch.testing.assert_close(seen[0], plain.up1(x))


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
def test_other_hourglasses_are_left_alone(kind: type[Hourglass]) -> None:
    assert "hourglass" not in hgfast.fuse(nn.Sequential(kind())).fusion.replaced.values()


@pytest.mark.parametrize("size", [(15, 12), (12, 15), (9, 9)])
@pytest.mark.parametrize("kind", [Hourglass, Strided])
def test_sizes_that_eager_refuses_are_refused(kind: type[Hourglass], size: tuple[int, int]) -> None:
    fused = hgfast.fuse(nn.Sequential(kind()))
    assert fused.fusion.replaced == {"0": "hourglass"}
    x = torch.randn(1, 4, *size)
    with pytest.raises(ValueError, match="must have twice the height and width of low"):
        fused(x)
    with pytest.raises(RuntimeError, match="must match the size"):
        hgfast.unfuse(fused)(x)


def test_sizes_that_eager_takes_are_taken() -> None:
    for kind, size in ((Resized, (15, 11)), (Strided, (1, 1)), (Strided, (1, 6)), (Hourglass, (6, 2))):
        plain = kind()
        fused = hgfast.fuse(nn.Sequential(copy.deepcopy(plain)))
        assert list(fused.fusion.replaced.values()) in (["hourglass"], ["hourglass of any size"])
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
    assert type(fused) is NewellHourglass
    same(fused, plain, torch.randn(1, 4, 8, 8))


class Flat(nn.Module):
    """Looks at its features as they lie in memory."""

    def __init__(self, features: nn.Module, values: int) -> None:
        super().__init__()
        self.features, self.fc = features, nn.Linear(values, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).view(x.size(0), -1))


FEATURES: dict[str, Callable[[], nn.Module]] = {
    "sequence": lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
    "blocks": lambda: nn.Sequential(Block(), Block()),
    "block": Block,
    "hourglass": lambda: Hourglass(Block()),
    "deeper": lambda: nn.Sequential(nn.Sequential(Block()), nn.Conv2d(4, 4, 1)),
}


@pytest.mark.parametrize("name", FEATURES)
def test_layout_of_results_stays(name: str) -> None:
    plain = FEATURES[name]()
    x = torch.randn(2, 4, 8, 6)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        images = x.contiguous(memory_format=memory_format)
        model = copy.deepcopy(plain).to(memory_format=memory_format)
        fused = hgfast.fuse(copy.deepcopy(model))
        assert fused(images).stride() == model(images).stride()
        assert not any(module._forward_hooks for module in hgfast.unfuse(fused).modules())
    net = Flat(plain, 4 * 48)
    same(hgfast.fuse(copy.deepcopy(net)).eval(), net.eval(), x)


@pytest.mark.parametrize("family", FAMILIES)
def test_results_of_networks_can_be_viewed(family: str) -> None:
    model = hgfast.fuse(foreign_model(family))
    for heatmap in heatmaps(model, torch.randn(2, 3, 64, 64)):
        assert heatmap.view(2, 5, -1).shape == (2, 5, 256)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_trace_outside_no_grad(family: str) -> None:
    images = torch.randn(1, 3, 64, 64)
    for model in (small_model(family, num_stacks=1).eval(), hgfast.fuse(foreign_model(family, 1)).eval()):
        x = images.permute(0, 2, 3, 1) if hasattr(model, "nstack") else images
        traced = torch.jit.trace(model, x)
        with torch.no_grad():
            torch.testing.assert_close(traced(x), model(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("make", [small_model, lambda family: hgfast.fuse(foreign_model(family))])
def test_whole_models_in_files(family: str, make: Callable[[str], nn.Module]) -> None:
    model = make(family).eval()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copies = [torch.load(file, weights_only=False), copy.deepcopy(model)]
    copies += [pickle.loads(pickle.dumps(model, protocol)) for protocol in (2, pickle.HIGHEST_PROTOCOL)]
    images = torch.randn(1, 3, 64, 64)
    for twin in copies:
        torch.testing.assert_close(heatmaps(twin, images), heatmaps(model, images))
        hgfast.unfuse(twin)


class Bearpaw(nn.Module):
    """A pre-activation bottleneck of torch's usual names."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.bn3, self.conv3 = nn.BatchNorm2d(4), nn.Conv2d(4, 8, 1)
        self.relu, self.downsample = nn.ReLU(inplace=True), None

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.relu(self.bn1(x)))
        return self.conv3(self.relu(self.bn3(self.conv2(self.relu(self.bn2(out)))))) + x


class CornerNets(nn.Module):
    """A residual block with other names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(4, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.skip = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))) + self.skip(x))


def test_report_lists_each_convolution_once_with_its_reason() -> None:
    scaled = BasicBlock(4, 4)
    scaled.relu = nn.SiLU()
    model = nn.ModuleList(
        [
            Bearpaw(), CornerNets(), Hourglass(up2=nn.UpsamplingNearest2d(scale_factor=2)), scaled, nn.Conv2d(4, 4, 1),
            nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)),
            nn.ConvTranspose2d(4, 4, 2),
        ]
    )  # fmt: skip
    report = hgfast.fuse(model).fusion
    assert report.replaced == {"1.skip": "sequence", "2": "hourglass", "5": "sequence"}
    unknown = "part of a {}, which is none of the known blocks"
    assert report.left == {
        **{f"0.conv{i}": unknown.format("Bearpaw") for i in (1, 2, 3)},
        **{f"1.conv{i}": unknown.format("CornerNets") for i in (1, 2)},
        **{f"2.{name}": "a convolution without BatchNorm" for name in ("up1.0", "low1", "low2", "low3")},
        "3": "basic block: its activation is no ReLU",
        **{f"3.conv{i}": "part of 3, which is left as it is" for i in (1, 2)},
        "4": "a convolution without BatchNorm",
        "5.0": "no plain Conv2d with same padding",
        "5.3": "a convolution without BatchNorm",
        "6": "a ConvTranspose2d has no fused form",
    }


def test_a_part_named_fusion_stays() -> None:
    model = nn.Module()
    model.fusion = nn.Sequential(Block(), Block())
    part = hgfast.fuse(model).fusion
    assert isinstance(part, nn.Sequential) and hgfast.unfuse(model) is model and type(part[0]) is Block


def test_weights_that_may_run_go_on_asking_for_gradients() -> None:
    """Fewer conv1x1s than inters say nothing of a network that is not MMPose's of one stack."""
    model = nn.Module()
    model.hourglass_modules = nn.ModuleList([Hourglass(), Hourglass()])
    model.inters, model.conv1x1s = nn.ModuleList([Block(), Block()]), nn.ModuleList([nn.Conv2d(4, 4, 1)])
    model.remap_convs = nn.ModuleList([nn.Conv2d(4, 4, 1)])
    assert not hgfast.fuse(model).fusion.frozen and all(p.requires_grad for p in model.parameters())


def test_scripted_modules_are_refused() -> None:
    with pytest.raises(TypeError, match="fuse: model must be a torch.nn.Module that is not scripted"):
        hgfast.fuse(torch.jit.trace(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)))
