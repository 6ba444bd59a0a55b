"""Networks as others write them: what their code, hooks and users see after fuse is what they saw before."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import hgfast
from tests.foreign_models import foreign_model, heatmaps
from tests.look_alikes import Block
from tests.small_models import FAMILIES, small_model
from tests.test_fuse_hourglasses import Hourglass, same
from tests.zoo.bearpaw import Bottleneck
from tests.zoo.cornernet import Residual
from tests.zoo.openmmlab import BasicBlock


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
def test_networks_built_of_fused_blocks_stay_as_they_are(family: str) -> None:
    model, images = small_model(family), torch.randn(2, 3, 64, 64)
    strides = [heatmap.stride() for heatmap in model(images)]
    assert [heatmap.stride() for heatmap in hgfast.fuse(model, recompute=True)(images)] == strides
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_results_of_networks_can_be_viewed(family: str) -> None:
    model = hgfast.fuse(foreign_model(family))
    for heatmap in heatmaps(model, torch.randn(2, 3, 64, 64)):
        assert heatmap.view(2, 5, -1).shape == (2, 5, 256)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_trace_outside_no_grad(family: str) -> None:
    images = torch.randn(1, 3, 64, 64)
    for model in (small_model(family, num_stacks=1, shallow=True), hgfast.fuse(foreign_model(family, 1, shallow=True))):
        x = images.permute(0, 2, 3, 1) if hasattr(model, "nstack") else images
        traced = torch.jit.trace(model.eval(), x)
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


def test_report_lists_each_convolution_once_with_its_reason() -> None:
    scaled = BasicBlock(4, 4)
    scaled.relu = nn.SiLU()
    model = nn.ModuleList(
        [
            Bottleneck(8, 4, nn.BatchNorm2d), Residual(4, 8, 2), Hourglass(up2=nn.UpsamplingNearest2d(scale_factor=2)),
            scaled, nn.Conv2d(4, 4, 1),
            nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)),
            nn.ConvTranspose2d(4, 4, 2),
        ]
    )  # fmt: skip
    for part in model:
        hgfast.fuse(part)
    assert model[0].fusion.replaced == {"": "1 operation: 3 convolutions, 3 BatchNorms"}
    assert model[1].fusion.replaced == {"": "1 operation: 3 convolutions, 3 BatchNorms"}
    assert model[2].fusion.replaced == {"": "2 operations: 4 convolutions, 1 merge, 1 pooling"}
    assert model[3].fusion.replaced == {"": "2 operations: 2 convolutions, 2 BatchNorms"}
    left = [part.fusion.left for part in model]
    assert left[:4] == [{}] * 4
    assert left[4:] == [
        {"": "a single layer has no forward pass to be fused"},
        {"0": "no plain Conv2d with same padding"},
        {"": "a ConvTranspose2d has no fused form"},
    ]


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
