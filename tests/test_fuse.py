"""hgfast.fuse and unfuse on the peers' networks (stand-ins), hgfast's own, and things that are no hourglass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import hgfast
from hgfast import models
from hgfast.nn import BasicBlock, Bottleneck, ConvModule, HourglassModule, NewellHourglass
from hgfast.nn.sequential import FusedSequential
from tests.foreign_models import foreign_model, heatmaps
from tests.recipe import apply_recipe
from tests.small_models import FAMILIES, small_model
from tests.zoo.openmmlab import BasicBlock as ForeignBlock

EXPECTED = {
    "mmpose": {BasicBlock: 22, ConvModule: 5, HourglassModule: 4, Bottleneck: 0, NewellHourglass: 0},
    "princeton": {BasicBlock: 0, ConvModule: 7, HourglassModule: 0, Bottleneck: 31, NewellHourglass: 8},
}


def network(family: str, seed: int = 1) -> nn.Module:
    return apply_recipe(foreign_model(family), seed)


def step(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    result = heatmaps(model, images)
    sum((h * h).mean() for h in result).backward()
    grads = {f"grad {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"last": result[-1].detach(), **grads, **dict(model.named_buffers())}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_step_as_the_peers(family: str, recompute: bool) -> None:
    plain = network(family).double()
    fused = hgfast.fuse(copy.deepcopy(plain), recompute=recompute)
    images = torch.randn(2, 3, 64, 128, dtype=torch.float64)
    got, expected = step(fused, images), step(plain, images)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    for model in (plain, fused):
        model.eval()
    torch.testing.assert_close(heatmaps(fused, images)[-1], heatmaps(plain, images)[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_but_the_classes_stays(family: str) -> None:
    model = network(family).to(memory_format=torch.channels_last).eval()
    some = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    some.train()
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    wanted = {name: p.requires_grad for name, p in parameters.items()}
    keys, modes = list(model.state_dict()), {name: m.training for name, m in model.named_modules()}
    fused = hgfast.fuse(model)
    assert fused is model and list(model.state_dict()) == keys and not any(m._forward_hooks for m in model.modules())
    assert all(parameters[name] is p for name, p in model.named_parameters())
    assert all(buffers[name] is b for name, b in model.named_buffers())
    assert all(modes[name] == m.training for name, m in model.named_modules() if name in modes)
    changed = {name for name, p in model.named_parameters() if p.requires_grad != wanted[name]}
    assert changed == set(model.fusion.frozen)
    for kind, count in EXPECTED[family].items():
        assert sum(type(m) is kind for m in model.modules()) == count, kind
    before = {name: id(m) for name, m in model.named_modules()}
    report = hgfast.fuse(model).fusion
    assert not report.replaced and before == {name: id(m) for name, m in model.named_modules()}
    plain = hgfast.unfuse(model)
    assert list(plain.state_dict()) == keys and wanted == {
        name: p.requires_grad for name, p in plain.named_parameters()
    }
    assert not any(type(m).__module__.startswith("hgfast") for m in plain.modules())


def test_report_says_what_and_why() -> None:
    model = network("mmpose")
    model.backbone.stem[1][0].register_forward_hook(lambda *_: None)
    model.backbone.inters[0].conv2 = nn.Conv2d(8, 8, 3, padding=1, groups=2)
    report = hgfast.fuse(model).fusion
    assert report.replaced["backbone.hourglass_modules.0.up1.0"] == "basic block"
    assert report.replaced["backbone.hourglass_modules.1"] == "hourglass"
    assert "hooks are registered" in report.left["backbone.stem.1.0"]
    assert "no plain Conv2d" in report.left["backbone.inters.0"]
    assert report.left["head.multi_final_layers.0"] == "a convolution without BatchNorm"
    assert "left backbone.stem.1.0: basic block: hooks" in str(report)


class Scaled(ForeignBlock):
    """Looks like a BasicBlock and is none."""

    def forward(self, x):
        return 0.5 * super().forward(x)


def test_what_computes_something_else_is_left_alone() -> None:
    model = nn.Sequential(Scaled(4, 4), ForeignBlock(4, 4))
    report = hgfast.fuse(model).fusion
    assert report.replaced == {"1": "basic block"}
    assert report.left["0"] == "basic block: it does not compute what its structure suggests"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("with_cp", True, "checkpoint"),
        ("relu", nn.SiLU(), "no ReLU"),
        ("attention", nn.Dropout(), "further parts: attention"),
        ("downsample", nn.AvgPool2d(1), "shortcut"),
    ],
)
def test_variants_of_blocks_are_left_alone(name: str, value: object, reason: str) -> None:
    block = ForeignBlock(4, 4)
    setattr(block, name, value)
    fused = hgfast.fuse(block)
    assert fused is block and reason in fused.fusion.left[""]


def test_single_block_and_sequences() -> None:
    block = ForeignBlock(4, 6, 2, nn.Sequential(nn.Conv2d(4, 6, 1, 2, bias=False), nn.BatchNorm2d(6)))
    fused = hgfast.fuse(block)
    assert type(fused) is BasicBlock and hgfast.unfuse(fused) is block
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, (1, 3)),
    ).double()  # fmt: skip
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    expected = copy.deepcopy(layers)(x)
    fused = hgfast.fuse(layers)
    assert type(fused) is FusedSequential and list(fused.state_dict()) == list(layers.state_dict())
    torch.testing.assert_close(fused(x), expected)
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got str"):
        hgfast.fuse("hourglass52")
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got dict"):
        hgfast.unfuse({})


@pytest.mark.parametrize("family", FAMILIES)
def test_own_models_both_ways(family: str) -> None:
    reference, fused = (apply_recipe(small_model(family, kind), 2).double() for kind in ("reference", "fused"))
    assert {type(m) for m in hgfast.fuse(reference).modules()} >= {type(m) for m in fused.modules()} - {type(fused)}
    assert not hgfast.fuse(fused).fusion.replaced
    plain = hgfast.unfuse(fused)
    assert not any(type(m).__module__.startswith("hgfast.nn") for m in plain.modules())
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(plain.eval()(images)[-1], reference.eval()(images)[-1])
    assert len(hgfast.fuse(plain).fusion.replaced) > 10


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_foreign_network_can_be_frozen_to_inference_form(family: str) -> None:
    model = network(family).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = heatmaps(model, images)[-1]
    frozen = hgfast.freeze(hgfast.fuse(model))
    torch.testing.assert_close(frozen(images)[-1], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "default", "least"), [("hourglass52", 0.74, 0.57), ("hg2", 0.53, 0.53)])
def test_saved_activations(name: str, default: float, least: float) -> None:
    """Bytes that autograd keeps, parameters apart, against eager PyTorch in the same network."""

    def saved(model: nn.Module) -> int:
        parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        kept = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.randn(1, 3, 256, 256))
        return sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in parameters)

    model = models.build(name, implementation="reference")
    eager = saved(model)
    assert saved(hgfast.fuse(model)) <= default * eager
    assert saved(hgfast.fuse(model, recompute=True)) <= least * eager
